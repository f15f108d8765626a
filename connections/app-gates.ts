import type { QueryResultRow } from 'pg';
import type { AppGates, GateAnswer, GateReason, GateRequest, OpenGate } from './app-gate.ts';
import { isSuccessNews, leaveGate } from './leave-app-gate.ts';
import { queryStore, type Queryable } from './store-query.ts';

const busyMinMs = 500;
const busySpreadMs = 1_000;
/** Those who wait for the same instant come back spread over this share of the wait. */
const spreadShare = 0.1;
const spreadMinMs = 250;
const spreadMaxMs = 5_000;

/** An app whose client was accepted within this works; one refusal does not stop it. */
const isProven = `(a.paused_reason is null and g.last_success_at is not null
  and g.last_success_at > clock_timestamp() - interval '10 minutes')`;
const isPaused = `(a.paused_reason is not null
  and (a.paused_until is null or a.paused_until > clock_timestamp()))`;
const isClosed = `(g.closed_until is not null and g.closed_until > clock_timestamp())`;
/**
 * The connection that threw doubt on a working app does not confirm it itself, until nobody else has
 * for so long that the app would be in doubt without it.
 */
const isSuspect = `(g.suspected_connection is not null and g.suspected_connection = $3
  and g.suspected_at > clock_timestamp() - interval '10 minutes')`;
const nowMs = `(extract(epoch from clock_timestamp()) * 1000)`;
const liveLeases = `(select count(*) from jsonb_each(g.leases) l where (l.value)::numeric > ${nowMs})`;
const windowStart = `clock_timestamp() - make_interval(secs => $5::double precision)`;
const liveSends = `(select count(*) from unnest(g.recent_sends) s where s > ${windowStart})`;

/** Of `apps a` and `app_gates g`, joined by the host `c.token_host`: what `openGateFromRow` reads. */
export const openGateColumns = `case when ${isProven} and not ${isClosed} then g.id end as open_gate_id,
        c.token_host as open_gate_host, ${isSuccessNews} as is_success_news,
        clock_timestamp()::text as gate_read_at`;

export interface OpenGateRow {
  open_gate_id: string | null;
  open_gate_host: string | null;
  is_success_news: boolean;
  gate_read_at: string;
}

/** Null: there is no gate, or it has to be asked. */
export function openGateFromRow(row: OpenGateRow): OpenGate | null {
  if (row.open_gate_id === null || row.open_gate_host === null) return null;
  return {
    id: row.open_gate_id,
    host: row.open_gate_host,
    isSuccessNews: row.is_success_news,
    readAt: row.gate_read_at,
  };
}

/**
 * One row of `app_gates` an app and token host, so that every replica decides alike, by the database's
 * clock. A send of a proven app without limits costs no statement where the connection was read with the
 * gate, else one SELECT without a lock.
 */
export function createAppGates(dependencies: {
  store: Queryable;
  /** 0 to 1, as `Math.random`. */
  random: () => number;
}): AppGates {
  const { store, random } = dependencies;

  async function enter(request: GateRequest): Promise<GateAnswer> {
    const seen = await look(store, request);
    if (seen === undefined) return busy();
    const obstacle = obstacleIn(seen, request);
    if (obstacle !== undefined) return obstacle;
    const { perWindow, concurrency } = request.limits;
    const isCounted = perWindow !== null || concurrency !== null;
    if (seen.gate_id !== null && !isCounted && (seen.is_proven || request.isUrgent)) {
      return opened(request, { ...seen, gate_id: seen.gate_id, is_leased: false });
    }
    if (seen.gate_id === null) {
      if (request.isUrgent && !isCounted) {
        return opened(request, { ...seen, is_leased: false });
      }
      await addGate(store, request);
    }
    const taken = await take(store, request);
    if (taken !== undefined) return opened(request, taken);
    // Somebody was faster, or the gate has changed since.
    const again = await look(store, request);
    return (again && obstacleIn(again, request)) ?? busy();
  }

  /** What stands against the send, as one look at the gate tells it. */
  function obstacleIn(seen: GateSight, request: GateRequest): GateAnswer | undefined {
    if (seen.is_paused) return { kind: 'app_paused' };
    if (request.isUrgent) return undefined;
    if (seen.closed_reason !== null && seen.closed_rest_ms !== null) {
      return waiting(seen.closed_reason, seen.closed_rest_ms, seen.closed_ms ?? 0);
    }
    if (!seen.is_proven && seen.suspect_rest_ms !== null) {
      return waiting('app_misconfigured', seen.suspect_rest_ms, seen.suspect_rest_ms);
    }
    if (!seen.is_proven && seen.lease_count > 0) return busy();
    const { perWindow, concurrency } = request.limits;
    if (concurrency !== null && seen.lease_count >= concurrency) return busy();
    if (perWindow !== null && seen.window_rest_ms !== null) {
      return waiting('rate_limited', seen.window_rest_ms, perWindow.seconds * 1_000);
    }
    return undefined;
  }

  function busy(): GateAnswer {
    return {
      kind: 'wait',
      afterMs: Math.round(busyMinMs + random() * busySpreadMs),
      reason: 'busy',
    };
  }

  function waiting(reason: GateReason, restMs: number, wholeMs: number): GateAnswer {
    const spreadMs = Math.min(Math.max(wholeMs * spreadShare, spreadMinMs), spreadMaxMs);
    return { kind: 'wait', afterMs: Math.ceil(restMs + random() * spreadMs), reason };
  }

  return { enter, leave: (entry, end) => leaveGate(store, entry, end, random()) };
}

interface GateSight extends QueryResultRow {
  is_paused: boolean;
  /** Null: there is no gate yet. */
  gate_id: string | null;
  is_proven: boolean;
  is_success_news: boolean;
  closed_reason: GateReason | null;
  closed_rest_ms: number | null;
  closed_ms: number | null;
  suspect_rest_ms: number | null;
  lease_count: number;
  /** Until the window has a place; null: it has one. */
  window_rest_ms: number | null;
  entered_at: string;
}

/** Undefined: there is no such app. */
async function look(store: Queryable, request: GateRequest): Promise<GateSight | undefined> {
  const [sight] = await queryStore<GateSight>(store, {
    name: 'look-at-app-gate',
    text: `select ${isPaused} as is_paused, g.id as gate_id, ${isProven} as is_proven,
        ${isSuccessNews} as is_success_news,
        case when ${isClosed} then g.closed_reason end as closed_reason,
        case when ${isClosed} then ${msUntil('g.closed_until')} end as closed_rest_ms,
        (extract(epoch from g.closed_until - g.closed_at) * 1000)::double precision as closed_ms,
        case when ${isSuspect} then ${msUntil("g.suspected_at + interval '10 minutes'")} end as suspect_rest_ms,
        case when g.leases is null or g.leases = '{}' then 0 else ${liveLeases} end::integer as lease_count,
        case when $4::integer is not null and g.recent_sends <> '{}' and ${liveSends} >= $4::integer then (
          select ${msUntil('s + make_interval(secs => $5::double precision)')}
          from unnest(g.recent_sends) s order by s desc offset $4::integer - 1 limit 1
        ) end as window_rest_ms,
        clock_timestamp()::text as entered_at
      from apps a left join app_gates g on g.app_id = a.id and g.host = $2
      where a.id = $1`,
    values: [request.appId, request.host, request.connectionId, ...windowOf(request)],
  });
  return sight;
}

async function addGate(store: Queryable, { appId, host }: GateRequest): Promise<void> {
  await queryStore(store, {
    name: 'add-app-gate',
    text: `insert into app_gates (app_id, host) select a.id, $2 from apps a where a.id = $1
      on conflict (app_id, host) do nothing`,
    values: [appId, host],
  });
}

interface TakenGate {
  gate_id: string | null;
  is_proven: boolean;
  is_leased: boolean;
  is_success_news: boolean;
  entered_at: string;
}

/**
 * Takes a place. The statement waits for the row's lock and then judges the row as it is, so of any
 * number at once exactly as many enter as may.
 */
async function take(store: Queryable, request: GateRequest): Promise<TakenGate | undefined> {
  const isLeased = `($8::boolean or not ($6::boolean or ${isProven}))`;
  const [taken] = await queryStore<TakenGate & QueryResultRow>(store, {
    name: 'take-app-gate',
    text: `update app_gates g set
        leases = coalesce((select jsonb_object_agg(l.key, l.value) from jsonb_each(g.leases) l
            where (l.value)::numeric > ${nowMs}), '{}')
          || case when ${isLeased} then jsonb_build_object($7::text, ${nowMs} + $9::double precision)
            else '{}' end,
        recent_sends = case when $4::integer is null then '{}' else array(
            select s from unnest(g.recent_sends) s where s > ${windowStart} order by s
          ) || clock_timestamp() end
      from apps a
      where a.id = $1 and g.app_id = a.id and g.host = $2 and not ${isPaused}
        and ($6::boolean or (not ${isClosed}
          and (${isProven} or (${liveLeases} = 0 and not ${isSuspect}))
          and ($10::integer is null or ${liveLeases} < $10::integer)
          and ($4::integer is null or ${liveSends} < $4::integer)))
      returning g.id as gate_id, ${isProven} as is_proven,
        g.leases ? $7::text as is_leased, true as is_success_news,
        coalesce(g.recent_sends[cardinality(g.recent_sends)], clock_timestamp())::text as entered_at`,
    values: [
      request.appId,
      request.host,
      request.connectionId,
      ...windowOf(request),
      request.isUrgent,
      request.claimId,
      request.limits.concurrency !== null,
      request.leaseMs,
      request.limits.concurrency,
    ],
  });
  return taken;
}

function opened(request: GateRequest, taken: TakenGate): GateAnswer {
  const { appId, connectionId, claimId } = request;
  return {
    kind: 'open',
    entry: {
      appId,
      connectionId,
      claimId,
      gateId: taken.gate_id,
      isProven: taken.is_proven,
      isLeased: taken.is_leased,
      isSuccessNews: taken.is_success_news,
      enteredAt: taken.entered_at,
    },
  };
}

function windowOf({ limits }: GateRequest): [number | null, number | null] {
  return [limits.perWindow?.count ?? null, limits.perWindow?.seconds ?? null];
}

function msUntil(instant: string): string {
  return `(extract(epoch from ${instant} - clock_timestamp()) * 1000)::double precision`;
}
