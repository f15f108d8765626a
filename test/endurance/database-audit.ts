import type pg from 'pg';

const pageRows = 20_000;

/** A claim: an intent that was inserted, or taken over by a replay. */
export interface ClaimRecord {
  connectionId: string;
  generation: number;
  attempt: number;
  replays: number;
  sentAtMs: number;
  answerByMs: number;
  /** The process that claimed: `worker-1.3` is the third in the place of worker-1. */
  process: string;
}

/** A connection's row after a change of what this run looks at. */
export interface StateRecord {
  connectionId: string;
  atMs: number;
  generation: number;
  tokenVersion: number;
  expiresAtMs: number | null;
  verdict: string | null;
  isUncertain: boolean;
  failure: string | null;
}

/** A line of the attempts log. */
export interface AttemptRecord {
  connectionId: string;
  atMs: number;
  outcome: string;
  class: string | null;
  code: string | null;
  trigger: string;
  runId: string;
}

export interface AuditTrail {
  claims: ClaimRecord[];
  states: StateRecord[];
  attempts: AttemptRecord[];
}

/**
 * What really happened in the database: triggers copy every claim, every change of a connection and
 * every line of the log, in the transaction that makes it. The product trims and overwrites these.
 */
export interface DatabaseAudit {
  install(): Promise<void>;
  read(): Promise<AuditTrail>;
}

const install = `
  create table endurance_audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    process text not null default current_setting('application_name'),
    what text not null,
    connection_id text not null,
    facts jsonb not null
  );
  create function endurance_audit() returns trigger language plpgsql as $$
  begin
    insert into endurance_audit (what, connection_id, facts)
    select tg_argv[0], to_jsonb(new) ->> tg_argv[1], jsonb_object_agg(key, value)
    from jsonb_each(to_jsonb(new)) where key = any(string_to_array(tg_argv[2], ' '));
    return null;
  end $$;
  create trigger endurance_claim after insert or update of claim_id, replays, answer_by
    on refresh_intents for each row execute function
    endurance_audit('claim', 'connection_id', 'generation attempt replays sent_at answer_by');
  create trigger endurance_import after insert on connections for each row execute function
    endurance_audit('state', 'id',
      'generation token_version expires_at verdict uncertain_since failure_class failure_code');
  create trigger endurance_state after update on connections for each row
    when ((old.generation, old.token_version, old.verdict, old.uncertain_since, old.failure_at)
      is distinct from (new.generation, new.token_version, new.verdict, new.uncertain_since, new.failure_at))
    execute function endurance_audit('state', 'id',
      'generation token_version expires_at verdict uncertain_since failure_class failure_code');
  create trigger endurance_attempt after insert on refresh_log for each row execute function
    endurance_audit('attempt', 'connection_id', 'outcome class code trigger run_id')`;

interface AuditRow {
  id: string;
  at: Date;
  process: string;
  what: 'claim' | 'state' | 'attempt';
  connection_id: string;
  facts: Record<string, string | number | null>;
}

export function createDatabaseAudit(pool: pg.Pool): DatabaseAudit {
  return {
    async install() {
      await pool.query(install);
    },
    async read() {
      const trail: AuditTrail = { claims: [], states: [], attempts: [] };
      for (let after = '0'; ;) {
        const { rows } = await pool.query<AuditRow>(
          'select * from endurance_audit where id > $1 order by id limit $2',
          [after, pageRows],
        );
        for (const row of rows) add(trail, row);
        const last = rows.at(-1);
        if (last === undefined) return trail;
        after = last.id;
      }
    },
  };
}

function add(trail: AuditTrail, { at, process, what, connection_id, facts }: AuditRow): void {
  const text = (name: string): string | null => {
    const value = facts[name] ?? null;
    return value === null ? null : String(value);
  };
  const timeMs = (name: string): number | null => {
    const value = text(name);
    return value === null ? null : Date.parse(value);
  };
  const common = { connectionId: connection_id, atMs: at.getTime() };
  switch (what) {
    case 'claim':
      trail.claims.push({
        connectionId: connection_id,
        generation: Number(facts['generation']),
        attempt: Number(facts['attempt']),
        replays: Number(facts['replays']),
        sentAtMs: timeMs('sent_at') ?? 0,
        answerByMs: timeMs('answer_by') ?? 0,
        process,
      });
      return;
    case 'state':
      trail.states.push({
        ...common,
        generation: Number(facts['generation']),
        tokenVersion: Number(facts['token_version']),
        expiresAtMs: timeMs('expires_at'),
        verdict: text('verdict'),
        isUncertain: text('uncertain_since') !== null,
        failure:
          text('failure_class') === null
            ? null
            : `${text('failure_class') ?? ''} ${text('failure_code') ?? ''}`,
      });
      return;
    case 'attempt':
      trail.attempts.push({
        ...common,
        outcome: text('outcome') ?? '',
        class: text('class'),
        code: text('code'),
        trigger: text('trigger') ?? '',
        runId: text('run_id') ?? '',
      });
  }
}
