import type { QueryResultRow } from 'pg';
import type { RefreshTrigger } from '../client/contract.ts';
import { logAttempt } from './attempts-log.ts';
import {
  connectionColumns,
  connectionFromRow,
  connectionTables,
  type ConnectionRow,
} from './connection-row.ts';
import type { AppLimits } from './app.ts';
import { forcedRefreshesMax } from './forced-refreshes.ts';
import { commitLateTokens, commitTokens } from './commit-tokens.ts';
import type {
  AttemptRecord,
  Claim,
  ClaimRequest,
  CommitOutcome,
  ExchangeSubject,
  Fence,
  LateFence,
  Postponement,
  RefreshIntent,
  SealedTokens,
  Settlement,
  Verdict,
} from './exchange.ts';
import { postpone, settleFailure, settleVerdict } from './settle-attempt.ts';
import { queryStore, type Queryable } from './store-query.ts';
import type { SealedValue } from './token-vault.ts';

/** The statements of the exchange. Each throws `store_unavailable` and then has changed nothing. */
export interface ExchangeStore {
  load(connectionId: string): Promise<ExchangeSubject | undefined>;
  /** Undefined: somebody else's claim, a newer generation, a pause or a waiting time stands against it. */
  claim(request: ClaimRequest): Promise<Claim | undefined>;
  /** `sealedResult` seals the same tokens for the intent of a later attempt, if one is open. */
  commit(
    fence: Fence,
    tokens: SealedTokens,
    record: AttemptRecord | null,
    sealedResult: () => SealedValue,
  ): Promise<CommitOutcome>;
  /** Stores late tokens that lie in the intent of `fence.attempt`; false if they no longer do. */
  commitLate(
    fence: LateFence,
    tokens: SealedTokens,
    record: AttemptRecord | null,
  ): Promise<boolean>;
  /**
   * False: a later attempt or generation has gone past, or tokens lie in the intent. A verdict is
   * never written while tokens of its generation exist. Idempotent.
   */
  settle(settlement: Settlement | Verdict): Promise<boolean>;
  /** Nothing was claimed; says why, and until when to wait. */
  postpone(postponement: Postponement): Promise<void>;
  /** Nobody may act on the uncertain attempt yet: when somebody should look again; null: never. */
  deferResolution(fence: Fence, refreshDueAfterMs: number | null): Promise<void>;
  /**
   * An intent past its answer_by that nobody settled: the connection is uncertain from now on, and due
   * after so many milliseconds; null: never of its own accord. The log names the run that made the
   * attempt, and what triggered the one that finds it.
   */
  markUncertain(
    fence: Fence,
    refreshDueAfterMs: number | null,
    trigger: RefreshTrigger,
  ): Promise<void>;
}

export function createExchangeStore(store: Queryable): ExchangeStore {
  return {
    load: (connectionId) => loadSubject(store, connectionId),
    claim: (request) => claimRefresh(store, request),
    commit: (fence, tokens, record, sealedResult) =>
      commitTokens(store, fence, tokens, record, sealedResult),
    commitLate: (fence, tokens, record) => commitLateTokens(store, fence, tokens, record),
    settle: (settlement) =>
      settlement.class === 'permanent'
        ? settleVerdict(store, settlement)
        : settleFailure(store, settlement),
    postpone: (postponement) => postpone(store, postponement),
    deferResolution: (fence, dueAfterMs) => deferResolution(store, fence, dueAfterMs),
    markUncertain: (fence, dueAfterMs, trigger) => markUncertain(store, fence, dueAfterMs, trigger),
  };
}

interface SubjectRow extends ConnectionRow {
  attempt: string;
  sealed_access_token: Buffer | null;
  sealed_refresh_token: Buffer | null;
  sealed_dpop_key: Buffer | null;
  last_sent_at: Date | null;
  recent_sends: Date[];
  token_host: string | null;
  refresh_token_expires_at: Date | null;
  client_id: string;
  app_generation: string;
  sealed_client_secrets: Buffer | null;
  overrides: Record<string, unknown>;
  limits: AppLimits;
  intent_generation: string | null;
  intent_attempt: string;
  claim_id: string;
  replays: number;
  workflow_run_id: string;
  first_sent_at: Date;
  answer_by: Date;
  late_attempt: string | null;
  late_sealed: Buffer | null;
}

async function loadSubject(
  store: Queryable,
  connectionId: string,
): Promise<ExchangeSubject | undefined> {
  const [row] = await queryStore<SubjectRow & QueryResultRow>(store, {
    name: 'load-exchange-subject',
    text: `select ${connectionColumns}, c.attempt, c.sealed_access_token, c.sealed_refresh_token,
        c.sealed_dpop_key, c.last_sent_at, c.recent_sends, c.token_host,
        c.refresh_token_expires_at,
        a.client_id, a.generation as app_generation, a.sealed_client_secrets, a.overrides, a.limits,
        i.generation as intent_generation, i.attempt as intent_attempt, i.claim_id, i.replays,
        i.workflow_run_id,
        i.first_sent_at, i.answer_by, i.late_attempt, i.late_sealed
      from ${connectionTables}
      left join refresh_intents i on i.connection_id = c.id
      where c.id = $1`,
    values: [connectionId],
  });
  if (row === undefined) return undefined;
  return {
    connection: connectionFromRow(row),
    attempt: Number(row.attempt),
    sealedAccessToken: row.sealed_access_token,
    sealedRefreshToken: row.sealed_refresh_token,
    sealedDpopKey: row.sealed_dpop_key,
    lastSentAt: row.last_sent_at,
    recentSends: row.recent_sends,
    tokenHost: row.token_host,
    refreshTokenExpiresAt: row.refresh_token_expires_at,
    app: {
      id: row.app_id,
      provider: row.provider,
      clientId: row.client_id,
      generation: Number(row.app_generation),
      sealedClientSecrets: row.sealed_client_secrets,
      overrides: row.overrides,
      limits: row.limits,
      pausedReason: row.app_paused_reason,
      pausedUntil: row.app_paused_until,
    },
    intent: intentFromRow(row),
  };
}

function intentFromRow(row: SubjectRow): RefreshIntent | null {
  if (row.intent_generation === null) return null;
  return {
    generation: Number(row.intent_generation),
    attempt: Number(row.intent_attempt),
    claimId: row.claim_id,
    replays: row.replays,
    workflowRunId: row.workflow_run_id,
    firstSentAt: row.first_sent_at,
    answerBy: row.answer_by,
    late:
      row.late_attempt === null || row.late_sealed === null
        ? null
        : { attempt: Number(row.late_attempt), sealed: row.late_sealed },
  };
}

/**
 * The connection's row is locked first, by every statement that touches its intent, so that claims,
 * settles and commits of one connection follow each other. `on conflict` sees the newest intent
 * whatever the statement's snapshot, and `attempt` grows only with a claim that is granted.
 */
async function claimRefresh(store: Queryable, request: ClaimRequest): Promise<Claim | undefined> {
  const [row] = await queryStore<{ attempt: string; sent_at: Date; replays: number }>(store, {
    name: 'claim-refresh',
    text: `with taken as (
        insert into refresh_intents as i (connection_id, generation, attempt, replays, claim_id, fingerprint,
          workflow_run_id, first_sent_at, sent_at, answer_by)
        select c.id, c.generation, c.attempt + 1, 0, $8::uuid, $4::bytea, $5, clock_timestamp(), clock_timestamp(),
          clock_timestamp() + make_interval(secs => $6::double precision / 1000)
        from connections c
        where c.id = $1 and c.generation = $2
          and c.deleted_at is null and c.paused_at is null and c.verdict is null
          and (c.next_attempt_at is null or c.next_attempt_at <= clock_timestamp())
        for update
        on conflict (connection_id) do update set
          generation = excluded.generation,
          attempt = excluded.attempt,
          replays = case when i.generation = excluded.generation then i.replays + 1 else 0 end,
          claim_id = excluded.claim_id,
          fingerprint = excluded.fingerprint,
          workflow_run_id = excluded.workflow_run_id,
          first_sent_at = case when i.generation = excluded.generation
            then i.first_sent_at else excluded.first_sent_at end,
          sent_at = excluded.sent_at,
          answer_by = excluded.answer_by,
          late_attempt = null,
          late_sealed = null
        where i.generation < excluded.generation
          or (i.generation = excluded.generation and i.attempt = $3::bigint
            and i.answer_by < clock_timestamp() and i.late_sealed is null
            and ($9::double precision is null
              or clock_timestamp() < i.first_sent_at + make_interval(secs => $9 / 1000)))
        returning i.connection_id, i.attempt, i.sent_at, i.replays
      )
      update connections c
      set attempt = taken.attempt, last_sent_at = taken.sent_at, rotation_class = $7, token_host = $10,
        recent_sends = ${newestSends('c.recent_sends', '$11')},
        forced_sends = case when $12 then ${newestSends('c.forced_sends', String(forcedRefreshesMax))}
          else c.forced_sends end
      from taken where c.id = taken.connection_id
      returning taken.attempt, taken.sent_at, taken.replays`,
    values: [
      request.connectionId,
      request.generation,
      request.replayOf,
      request.fingerprint,
      request.workflowRunId,
      request.answerWithinMs,
      request.rotationClass,
      request.claimId,
      request.replayWithinMs,
      request.tokenHost,
      request.sendsKept,
      request.isForced,
    ],
  });
  if (row === undefined) return undefined;
  return {
    connectionId: request.connectionId,
    generation: request.generation,
    attempt: Number(row.attempt),
    claimedAt: row.sent_at,
    replays: row.replays,
  };
}

/** The send times with this one, the newest `kept`. */
function newestSends(column: string, kept: string): string {
  return `array(select s from unnest(${column} || taken.sent_at) s order by s desc limit ${kept}::integer)`;
}

async function markUncertain(
  store: Queryable,
  fence: Fence,
  refreshDueAfterMs: number | null,
  trigger: RefreshTrigger,
): Promise<void> {
  await queryStore(store, {
    name: 'mark-uncertain',
    text: `with target as (
        select c.id, i.workflow_run_id,
          extract(epoch from least(clock_timestamp(), i.answer_by) - i.sent_at) * 1000 as open_ms
        from connections c
        join refresh_intents i on i.connection_id = c.id
          and i.generation = c.generation and i.attempt = c.attempt
        where c.id = $1 and c.generation = $2 and c.attempt = $3 and c.uncertain_since is null
        for update of c
      ), ${logAttempt({
        source: 'target',
        outcome: `'uncertain'`,
        class: `'ambiguous'`,
        code: `'end_unknown'`,
        durationMs: 'greatest(open_ms, 0)::integer',
        trigger: '$5::text',
        runId: 'workflow_run_id',
      })}
      update connections c
      set uncertain_since = clock_timestamp(),
        refresh_due_at = clock_timestamp() + make_interval(secs => $4::double precision / 1000),
        updated_at = now()
      from target where c.id = target.id`,
    values: [fence.connectionId, fence.generation, fence.attempt, refreshDueAfterMs, trigger],
  });
}

async function deferResolution(
  store: Queryable,
  fence: Fence,
  refreshDueAfterMs: number | null,
): Promise<void> {
  await queryStore(store, {
    name: 'defer-resolution',
    text: `update connections
      set refresh_due_at = clock_timestamp() + make_interval(secs => $4::double precision / 1000),
        updated_at = now()
      where id = $1 and generation = $2 and attempt = $3 and uncertain_since is not null`,
    values: [fence.connectionId, fence.generation, fence.attempt, refreshDueAfterMs],
  });
}
