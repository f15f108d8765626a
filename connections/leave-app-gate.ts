import { announceAppEvent } from './announce-event.ts';
import type { GateEnd, GateEntry } from './app-gate.ts';
import { queryStore, type Queryable } from './store-query.ts';

const retryAfterMaxMs = 3_600_000;
/** Failures of different connections in a row from which on a gate closes by itself. */
const breakerFailures = 5;
const breakerBaseMs = 1_000;
const breakerMaxMs = 60_000;
const breakerDoublingsMax = 10;

/**
 * Writes how a send ended. All statements find the gate by its id: the row goes when the credentials
 * change, and with it whatever answers to the old ones could say. Who needs the app's row locks it
 * before the gate's, as the registry does.
 */
export async function leaveGate(
  store: Queryable,
  entry: GateEntry,
  end: GateEnd,
  fraction: number,
): Promise<void> {
  if (entry.gateId === null) return;
  switch (end.kind) {
    case 'succeeded':
      return noteSuccess(store, entry);
    case 'misconfigured':
      return noteRefusal(store, entry, end);
    case 'rate_limited':
      return noteRateLimit(store, entry, end.retryAfterMs);
    case 'unavailable':
      return noteFailure(store, entry, end.retryAfterMs, fraction);
    case 'unsent':
      return giveBack(store, entry);
  }
}

/** A provider's limit outlasts the successes of sends that were under way before it. */
const isRateClosed = `(g.closed_until is not null and g.closed_until > clock_timestamp()
  and g.closed_reason = 'rate_limited')`;

/**
 * Of a gate `g`: a success of a proven app is written at most every 30 s, unless it ends a doubt.
 */
export const isSuccessNews = `(not ${isRateClosed} and (g.last_success_at is null
        or g.last_success_at < clock_timestamp() - interval '30 seconds'
        or g.failure_count > 0 or g.refusal_count > 0 or g.suspected_connection is not null))`;

/**
 * What the gate knew when the send entered need not be told; and whoever is writing the row is left to it: so a
 * thousand refreshes of one app do not wait for each other.
 */
async function noteSuccess(store: Queryable, entry: GateEntry): Promise<void> {
  if (!entry.isLeased && !entry.isSuccessNews) return;
  const isDue = entry.isLeased ? 'true' : isSuccessNews;
  await queryStore(store, {
    name: entry.isLeased ? 'leave-app-gate-succeeded' : 'note-app-success',
    text: `with paused as materialized (
        select id, paused_reason from apps where id = $2 and paused_reason is not null for update
      ), due as (
        select g.id from app_gates g where g.id = $1 and (select count(*) from paused) >= 0 and ${isDue}
        for no key update ${entry.isLeased ? '' : 'skip locked'}
      ), touched as (
        update app_gates g set leases = g.leases - $3::text,
          last_success_at = case when ${isRateClosed} then g.last_success_at else clock_timestamp() end,
          closed_until = case when ${isRateClosed} then g.closed_until end,
          failure_count = 0, last_failed_connection = null, refusal_count = 0,
          suspected_connection = null, suspected_at = null
        from due where g.id = due.id
        returning g.id
      ), recovered as (
        update apps a set paused_reason = null, paused_until = null, updated_at = now()
        from paused, touched where a.id = paused.id
        returning a.id, paused.paused_reason
      )
      ${announceAppEvent({
        type: 'app.recovered',
        source: 'recovered a',
        data: `jsonb_build_object('after', a.paused_reason)`,
      })}`,
    values: [entry.gateId, entry.appId, entry.claimId],
  });
}

/**
 * The provider refuses the client. After a recent success that is doubt only, which somebody else's
 * send confirms or clears; a send that stood alone for the app confirms it: the app is paused, first
 * for ten minutes, after the probe that follows until somebody acts. A customer's own host is closed.
 */
async function noteRefusal(
  store: Queryable,
  entry: GateEntry,
  end: { code: string; pausesApp: boolean },
): Promise<void> {
  await queryStore(store, {
    name: 'leave-app-gate-misconfigured',
    text: `with app as materialized (
        select id, paused_reason, paused_until from apps where id = $2 for update
      ), gate as (
        select g.id, g.leases ? $3::text and not $4::boolean as confirms
        from app_gates g join app on app.id = g.app_id
        where g.id = $1 for no key update of g
      ), changed as (
        update app_gates g set last_success_at = null, leases = g.leases - $3::text,
          suspected_connection = case when not gate.confirms then coalesce(g.suspected_connection, $5) end,
          suspected_at = case when not gate.confirms then coalesce(g.suspected_at, clock_timestamp()) end,
          refusal_count = g.refusal_count + case when gate.confirms and not $7 then 1 else 0 end,
          closed_at = case when gate.confirms and not $7 then clock_timestamp() else g.closed_at end,
          closed_until = case when gate.confirms and not $7 then clock_timestamp()
            + case g.refusal_count when 0 then interval '10 minutes' else interval '1 hour' end
            else g.closed_until end,
          closed_reason = case when gate.confirms and not $7 then 'app_misconfigured'
            else g.closed_reason end
        from gate where g.id = gate.id
      ), stopped as (
        update apps a set paused_reason = $6, updated_at = now(),
          paused_until = case when app.paused_reason is null
            then clock_timestamp() + interval '10 minutes' end
        from app, gate
        where a.id = app.id and gate.confirms and $7::boolean
          and (app.paused_reason is null or app.paused_until <= clock_timestamp())
        returning a.id, app.paused_reason is null as is_news
      )
      ${announceAppEvent({
        type: 'app.misconfigured',
        source: 'stopped a',
        condition: 'a.is_news',
        data: `jsonb_build_object('code', $6::text)`,
      })}`,
    values: [
      entry.gateId,
      entry.appId,
      entry.claimId,
      entry.isProven,
      entry.connectionId,
      end.code,
      end.pausesApp,
    ],
  });
}

async function noteRateLimit(
  store: Queryable,
  entry: GateEntry,
  retryAfterMs: number,
): Promise<void> {
  await queryStore(store, {
    name: 'leave-app-gate-rate-limited',
    text: `update app_gates g set leases = g.leases - $2::text, last_success_at = null,
        closed_at = clock_timestamp(), closed_reason = 'rate_limited',
        closed_until = greatest(g.closed_until,
          clock_timestamp() + make_interval(secs => $3::double precision / 1000))
      where g.id = $1`,
    values: [entry.gateId, entry.claimId, Math.min(retryAfterMs, retryAfterMaxMs)],
  });
}

/** Sends that were under way when the gate closed say nothing new about the provider. */
async function noteFailure(
  store: Queryable,
  entry: GateEntry,
  retryAfterMs: number | null,
  fraction: number,
): Promise<void> {
  await queryStore(store, {
    name: 'leave-app-gate-unavailable',
    text: `with gate as (
        select g.id, failed.count, case
            when $5::double precision is not null then $5::double precision
            when failed.is_old or failed.count < ${breakerFailures} then null
            else $6::double precision * least(${breakerMaxMs}, ${breakerBaseMs}
              * 2 ^ least(failed.count - ${breakerFailures}, ${breakerDoublingsMax}))
          end as closes_ms
        from app_gates g, lateral (
          select old.is_old, case
              when old.is_old then g.failure_count
              when g.failure_count >= ${breakerFailures} then g.failure_count + 1
              when g.last_failed_connection = $3 then g.failure_count
              else g.failure_count + 1
            end as count
          from (select coalesce($4::timestamptz < g.closed_at, false) as is_old) old
        ) failed
        where g.id = $1 for no key update of g
      )
      update app_gates g set leases = g.leases - $2::text,
        failure_count = gate.count, last_failed_connection = $3,
        last_success_at = case when gate.closes_ms is null then g.last_success_at end,
        closed_at = case when gate.closes_ms is null then g.closed_at else clock_timestamp() end,
        closed_reason = case when gate.closes_ms is null or g.closed_until > closing.until
          then g.closed_reason else 'provider_unavailable' end,
        closed_until = case when gate.closes_ms is null then g.closed_until
          else greatest(g.closed_until, closing.until) end
      from gate, lateral (
        select clock_timestamp() + make_interval(secs => gate.closes_ms / 1000) as until
      ) closing
      where g.id = gate.id`,
    values: [
      entry.gateId,
      entry.claimId,
      entry.connectionId,
      entry.enteredAt,
      retryAfterMs === null ? null : Math.min(retryAfterMs, retryAfterMaxMs),
      fraction,
    ],
  });
}

async function giveBack(store: Queryable, entry: GateEntry): Promise<void> {
  await queryStore(store, {
    name: 'leave-app-gate-unsent',
    text: `update app_gates g set leases = g.leases - $2::text,
        recent_sends = array_remove(g.recent_sends, $3::timestamptz)
      where g.id = $1 and (g.leases ? $2::text or $3::timestamptz = any(g.recent_sends))`,
    values: [entry.gateId, entry.claimId, entry.enteredAt],
  });
}
