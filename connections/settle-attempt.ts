import { announceEvent } from './announce-event.ts';
import { logAttempt } from './attempts-log.ts';
import type { Fence, Postponement, Settlement, Verdict } from './exchange.ts';
import { queryStore, type Queryable } from './store-query.ts';

/**
 * The attempt that `$3` claimed, if it is still the newest of the generation, its connection's row
 * locked. Where late tokens lie in its intent nothing is settled: they are to be stored, and need not
 * wait any longer, for this call is over.
 */
const ownAttempt = `target as (
        select c.id, c.tenant_id, c.app_id, c.verdict from connections c
        join refresh_intents i on i.connection_id = c.id
          and i.generation = c.generation and i.attempt = c.attempt
        where c.id = $1 and c.generation = $2 and i.claim_id = $3
        for update of c
      ), ended as (
        update refresh_intents i set answer_by = least(i.answer_by, clock_timestamp())
        from target
        where i.connection_id = target.id and i.claim_id = $3 and i.late_sealed is not null
      )`;

/**
 * Records an attempt that brought no tokens. A first send with a known end removes its intent. An
 * ambiguous one leaves it, due now because its call is dead; so does a replay that was not sent or
 * whose answer leaves the token's fate open, for the earlier ambiguity stands, and is counted only where
 * the settlement says so. Found by its claim,
 * which a settled intent holds no longer: so it is idempotent, and cannot settle anybody else's attempt.
 */
export async function settleFailure(store: Queryable, settlement: Settlement): Promise<boolean> {
  const rows = await queryStore(store, {
    name: 'settle-failure',
    text: `with ${ownAttempt}, removed as (
        delete from refresh_intents i using target
        where i.connection_id = target.id and i.claim_id = $3 and i.late_sealed is null
          and i.replays = 0 and not $12
        returning i.connection_id as id, false as is_uncertain
      ), reopened as (
        update refresh_intents i
        set claim_id = gen_random_uuid(), answer_by = least(i.answer_by, clock_timestamp()),
          replays = i.replays - case when i.replays > 0 and not $6 then 1 else 0 end
        from target
        where i.connection_id = target.id and i.claim_id = $3 and i.late_sealed is null
          and (i.replays > 0 or $12)
        returning i.connection_id as id, true as is_uncertain
      ), settled as (
        select id, is_uncertain from removed union all select id, is_uncertain from reopened
      ), ${logAttempt({
        source: 'settled',
        outcome: `case $4 when 'ambiguous' then 'uncertain' when 'misconfigured' then 'app_misconfigured'
          else 'waiting' end`,
        class: '$4',
        code: '$5',
        durationMs: '$8',
        trigger: '$9',
        runId: '$10',
      })}
      update connections c set
        failure_class = $4, failure_code = $5, failure_at = clock_timestamp(),
        failure_count = c.failure_count + 1,
        next_attempt_at = clock_timestamp() + make_interval(secs => $7::double precision / 1000),
        refresh_due_at = clock_timestamp() + make_interval(secs => $11::double precision / 1000),
        -- A paused process may settle as not sent what others have called uncertain meanwhile.
        uncertain_since = case when settled.is_uncertain
          then coalesce(c.uncertain_since, clock_timestamp()) end,
        -- A probe that has learnt nothing may be made again.
        probe_requested_at = case when c.verdict is not null then clock_timestamp() end,
        updated_at = now()
      from settled where c.id = settled.id
      returning c.id`,
    values: [
      settlement.connectionId,
      settlement.generation,
      settlement.claimId,
      settlement.class,
      settlement.code,
      settlement.isReplayCounted,
      settlement.retryAfterMs,
      settlement.record.durationMs,
      settlement.record.trigger,
      settlement.record.runId,
      settlement.refreshDueAfterMs,
      settlement.isFateOpen,
    ],
  });
  return rows.length === 1;
}

/** Records what stood against a refresh before anything was claimed; an open intent stays as it is. */
export async function postpone(store: Queryable, postponement: Postponement): Promise<void> {
  await queryStore(store, {
    name: 'postpone-refresh',
    text: `with target as (
        select c.id from connections c where c.id = $1 and c.generation = $2 and c.attempt = $9 for update
      ), ${logAttempt({
        source: 'target',
        outcome: `case $3 when 'misconfigured' then 'app_misconfigured' else 'waiting' end`,
        class: '$3',
        code: '$4',
        durationMs: '$6',
        trigger: '$7',
        runId: '$8',
      })}
      update connections c set
        failure_class = $3, failure_code = $4, failure_at = clock_timestamp(),
        failure_count = c.failure_count + 1,
        next_attempt_at = clock_timestamp() + make_interval(secs => $5::double precision / 1000),
        refresh_due_at = clock_timestamp() + make_interval(secs => $10::double precision / 1000),
        updated_at = now()
      from target where c.id = target.id`,
    values: [
      postponement.connectionId,
      postponement.generation,
      postponement.class,
      postponement.code,
      postponement.retryAfterMs,
      postponement.record.durationMs,
      postponement.record.trigger,
      postponement.record.runId,
      postponement.attempt,
      postponement.refreshDueAfterMs,
    ],
  });
}

/** No failure, and no line in the log: the connection waits for its turn. */
export async function deferAttempt(store: Queryable, fence: Fence, afterMs: number): Promise<void> {
  await queryStore(store, {
    name: 'defer-attempt',
    text: `update connections c set
        next_attempt_at = clock_timestamp() + make_interval(secs => $4::double precision / 1000),
        refresh_due_at = case when c.refresh_due_at is not null then greatest(c.refresh_due_at,
          clock_timestamp() + make_interval(secs => $4::double precision / 1000)) end
      where c.id = $1 and c.generation = $2 and c.attempt = $3`,
    values: [fence.connectionId, fence.generation, fence.attempt, afterMs],
  });
}

/**
 * Writes the provider's verdict: the intent must be this attempt's own and hold no tokens, so a verdict
 * can neither overtake a newer generation nor bury tokens that are in hand.
 */
export async function settleVerdict(store: Queryable, verdict: Verdict): Promise<boolean> {
  const rows = await queryStore(store, {
    name: 'settle-verdict',
    text: `with ${ownAttempt}, removed as (
        delete from refresh_intents i using target
        where i.connection_id = target.id and i.claim_id = $3 and i.late_sealed is null
        returning i.connection_id as id
      ), ${logAttempt({
        source: 'removed',
        outcome: `'reauthorization_required'`,
        class: `'permanent'`,
        code: '$5',
        durationMs: '$6',
        trigger: '$7',
        runId: '$8',
      })}, announced as (
        ${announceEvent({
          type: 'connection.reauthorization_required',
          source: 'target t join removed r on r.id = t.id',
          // A probe that confirms the verdict is no transition.
          condition: 't.verdict is null',
          data: `jsonb_build_object('reason', $4::text)`,
        })}
      )
      update connections c set
        verdict = $4, verdict_at = clock_timestamp(), uncertain_since = null,
        failure_class = 'permanent', failure_code = $5, failure_at = clock_timestamp(),
        failure_count = c.failure_count + 1, next_attempt_at = null, refresh_due_at = null,
        updated_at = now()
      from removed where c.id = removed.id
      returning c.id`,
    values: [
      verdict.connectionId,
      verdict.generation,
      verdict.claimId,
      verdict.reason,
      verdict.code,
      verdict.record.durationMs,
      verdict.record.trigger,
      verdict.record.runId,
    ],
  });
  return rows.length === 1;
}

/**
 * The end of an attempt whose connection was deleted meanwhile: its call is dead, so that whoever revokes
 * the tokens need not wait for its answer. An intent whose token may be spent stays, for him to end.
 */
export async function endDeletedAttempt(
  store: Queryable,
  attempt: { connectionId: string; generation: number; claimId: string; isFateOpen: boolean },
): Promise<void> {
  await queryStore(store, {
    name: 'end-deleted-attempt',
    text: `with target as (
        select i.connection_id, i.replays = 0 and not $4 and i.late_sealed is null as is_over
        from refresh_intents i join connections c on c.id = i.connection_id
        where i.connection_id = $1 and i.generation = $2 and i.claim_id = $3
          and c.deleted_at is not null
        for update of i
      ), removed as (
        delete from refresh_intents i using target t where i.connection_id = t.connection_id and t.is_over
      )
      update refresh_intents i set answer_by = least(i.answer_by, clock_timestamp())
      from target t where i.connection_id = t.connection_id and not t.is_over`,
    values: [attempt.connectionId, attempt.generation, attempt.claimId, attempt.isFateOpen],
  });
}
