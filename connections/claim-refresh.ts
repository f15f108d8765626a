import type { Claim, ClaimRequest } from './exchange.ts';
import { forcedRefreshesMax } from './forced-refreshes.ts';
import { queryStore, type Queryable } from './store-query.ts';

/**
 * The connection's row is locked first, by every statement that touches its intent, so that claims,
 * settles and commits of one connection follow each other. `on conflict` sees the newest intent
 * whatever the statement's snapshot, and `attempt` grows only with a claim that is granted.
 */
export async function claimRefresh(
  store: Queryable,
  request: ClaimRequest,
): Promise<Claim | undefined> {
  const [row] = await queryStore<{ attempt: string; sent_at: Date; replays: number }>(store, {
    name: 'claim-refresh',
    text: `with taken as (
        insert into refresh_intents as i (connection_id, generation, attempt, replays, claim_id, fingerprint,
          workflow_run_id, first_sent_at, sent_at, answer_by)
        select c.id, c.generation, c.attempt + 1, 0, $8::uuid, $4::bytea, $5, clock_timestamp(), clock_timestamp(),
          clock_timestamp() + make_interval(secs => $6::double precision / 1000)
        from connections c
        where c.id = $1 and c.generation = $2
          and c.deleted_at is null and c.paused_at is null
          and (c.verdict is null or c.probe_requested_at is not null)
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
        probe_requested_at = null,
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
