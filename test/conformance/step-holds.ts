import type { Pool } from 'pg';
import { vi } from 'vitest';

/** Statements of an exchange: taking its place at the app's gate, its claim, and the commit of its tokens. */
type Step = 'gate' | 'claim' | 'commit';

/** Advisory locks of this kind. */
const lockClass = 71;
const reachedWithinMs = 30_000;

export interface StepHolds {
  /**
   * The next such statement waits in the database until it is released; `key` is the app of the gate, the
   * connection otherwise. The worker gives a statement up after 5 seconds.
   */
  hold(
    step: Step,
    key: string,
  ): Promise<{
    /** Resolves when somebody waits there. */
    reached(): Promise<void>;
    release(): Promise<void>;
  }>;
}

/** Triggers that let a statement wait for a lock which a test may hold. */
export async function createStepHolds(pool: Pool): Promise<StepHolds> {
  await pool.query(
    `create function wait_if_held() returns trigger language plpgsql as $$ begin
       perform pg_advisory_xact_lock_shared(${lockClass},
         hashtext(tg_argv[0] || (to_jsonb(new) ->> tg_argv[1])));
       return new; end $$;
     create trigger held_gate before insert on app_gates
       for each row execute function wait_if_held('gate', 'app_id');
     create trigger held_claim before insert on refresh_intents
       for each row execute function wait_if_held('claim', 'connection_id');
     create trigger held_commit before update on connections for each row
       when (new.sealed_refresh_token is not null
         and new.sealed_refresh_token is distinct from old.sealed_refresh_token)
       execute function wait_if_held('commit', 'id')`,
  );
  return {
    async hold(step, key) {
      const holder = await pool.connect();
      const values = [lockClass, step + key];
      await holder.query('select pg_advisory_lock($1, hashtext($2))', values);
      return {
        reached: () =>
          vi.waitFor(
            async () => {
              const { rowCount } = await pool.query(
                `select from pg_locks where locktype = 'advisory' and not granted
                   and classid = $1 and objid = hashtext($2)::oid`,
                values,
              );
              if (rowCount === 0) throw new Error(`nobody waits at the ${step}`);
            },
            { timeout: reachedWithinMs, interval: 50 },
          ),
        async release() {
          await holder.query('select pg_advisory_unlock($1, hashtext($2))', values);
          holder.release();
        },
      };
    },
  };
}
