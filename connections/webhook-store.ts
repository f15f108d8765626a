import { eventColumns, eventFromRow, settledEvent, type EventRow } from './event-columns.ts';
import type { EventPosition, FeedEvent } from './event-feed.ts';
import { inTransaction, queryStore, type TransactionalStore } from './store-query.ts';

/** How an endpoint fares. */
export interface EndpointStanding {
  name: string;
  /** It has been told of everything up to here, or an event of it is in `retries`. */
  position: EventPosition;
  deliveredAt: Date | null;
  /** Since when it takes nothing at all. */
  failingSince: Date | null;
  failureCount: number;
  failureCode: string | null;
  /** Until it is tried again; 0 or less: now. */
  waitMs: number;
  parkedAt: Date | null;
}

/** One event that an endpoint refused while it took others. */
export interface RetryDelivery {
  event: FeedEvent;
  attempts: number;
  /** Since the first attempt. */
  ageMs: number;
}

/** What became of a delivery; null: it was taken. */
interface DeliveryEnd {
  eventId: string;
  failureCode: string | null;
  /** Until the next attempt; null: it is parked. */
  retryAfterMs: number | null;
}

export interface WebhookStore {
  /** Knows new endpoints from now on, at the end of the feed. Answers those that are not parked. */
  enrol(names: string[]): Promise<string[]>;
  standing(name: string): Promise<EndpointStanding | undefined>;
  /** The next events of the feed from a position on, of every type and tenant. */
  next(
    position: EventPosition,
    limit: number,
  ): Promise<{ position: EventPosition; event: FeedEvent }[]>;
  /** Those of its retries whose time has come. */
  dueRetries(name: string, limit: number): Promise<RetryDelivery[]>;
  /**
   * The endpoint lives: it has got as far as `to`, what it refused of that is retried or parked, and what
   * was retried is done, or tried again. Does nothing if it does not stand at `from` any more.
   */
  recordProgress(progress: {
    name: string;
    from: EventPosition;
    to: EventPosition;
    isDelivered: boolean;
    refused: DeliveryEnd[];
    retried: DeliveryEnd[];
  }): Promise<void>;
  /** It took nothing at all: it stays where it is. Answers whether it is parked now. */
  recordFailure(failure: {
    name: string;
    from: EventPosition;
    code: string;
    retryAfterMs: number;
    /** Parked once it has failed this long; 0: at once. */
    parkAfterMs: number;
  }): Promise<boolean>;
}

export interface StandingRow {
  name: string;
  xid: string;
  event_id: string;
  delivered_at: Date | null;
  failing_since: Date | null;
  failure_count: number;
  failure_code: string | null;
  wait_ms: number | null;
  parked_at: Date | null;
}

/** What every SELECT of an endpoint fetches, from `webhook_endpoints w`. */
export const standingColumns = `w.name, w.xid::text as xid, w.event_id, w.delivered_at, w.failing_since,
  w.failure_count, w.failure_code, w.parked_at,
  (extract(epoch from w.next_attempt_at - clock_timestamp()) * 1000)::double precision as wait_ms`;

export function standingFromRow(row: StandingRow): EndpointStanding {
  return {
    name: row.name,
    position: { xid: row.xid, id: row.event_id },
    deliveredAt: row.delivered_at,
    failingSince: row.failing_since,
    failureCount: row.failure_count,
    failureCode: row.failure_code,
    waitMs: row.wait_ms ?? 0,
    parkedAt: row.parked_at,
  };
}

/** Progress of webhooks; one writer an endpoint, its Workflow, and the command line. */
export function createWebhookStore(store: TransactionalStore): WebhookStore {
  return {
    async enrol(names) {
      const rows = await queryStore<{ name: string }>(store, {
        name: 'enrol-webhooks',
        text: `with added as (
            insert into webhook_endpoints (name, xid, event_id)
            select n, pg_snapshot_xmin(pg_current_snapshot()), 0 from unnest($1::text[]) n
            on conflict (name) do nothing
          )
          select n as name from unnest($1::text[]) n
          where not exists (
            select from webhook_endpoints w where w.name = n and w.parked_at is not null)`,
        values: [names],
      });
      return rows.map(({ name }) => name);
    },

    async standing(name) {
      const [row] = await queryStore<StandingRow>(store, {
        name: 'webhook-standing',
        text: `select ${standingColumns} from webhook_endpoints w where w.name = $1`,
        values: [name],
      });
      return row && standingFromRow(row);
    },

    async next(position, limit) {
      const rows = await queryStore<EventRow>(store, {
        name: 'next-webhook-events',
        text: `select ${eventColumns} from events e
          where (e.xid, e.id) > ($1::xid8, $2::bigint) and ${settledEvent}
          order by e.xid, e.id limit $3`,
        values: [position.xid, position.id, limit],
      });
      return rows.map((row) => ({
        position: { xid: row.xid, id: row.id },
        event: eventFromRow(row),
      }));
    },

    async dueRetries(name, limit) {
      const rows = await queryStore<EventRow & { attempts: number; age_ms: number }>(store, {
        name: 'due-webhook-retries',
        text: `select ${eventColumns}, d.attempts,
            (extract(epoch from clock_timestamp() - d.created_at) * 1000)::double precision as age_ms
          from webhook_deliveries d join events e on e.id = d.event_id
          where d.endpoint = $1 and d.next_attempt_at <= clock_timestamp()
          order by d.next_attempt_at limit $2`,
        values: [name, limit],
      });
      return rows.map((row) => ({
        event: eventFromRow(row),
        attempts: row.attempts,
        ageMs: row.age_ms,
      }));
    },

    async recordProgress({ name, from, to, isDelivered, refused, retried }) {
      await inTransaction(store, async (transaction) => {
        const moved = await queryStore<{ name: string }>(transaction, {
          name: 'move-webhook',
          text: `update webhook_endpoints set xid = $4::xid8, event_id = $5,
              delivered_at = case when $6 then clock_timestamp() else delivered_at end,
              failing_since = case when not $6 then failing_since end,
              failure_count = case when $6 then 0 else failure_count end,
              failure_code = case when not $6 then failure_code end,
              next_attempt_at = case when not $6 then next_attempt_at end
            where name = $1 and xid = $2::xid8 and event_id = $3
            returning name`,
          values: [name, from.xid, from.id, to.xid, to.id, isDelivered],
        });
        if (moved.length === 0) return;
        const taken = retried.filter(({ failureCode }) => failureCode === null);
        await queryStore(transaction, {
          name: 'end-webhook-retries',
          text: `delete from webhook_deliveries
            where endpoint = $1 and event_id = any($2::bigint[])`,
          values: [name, taken.map(numberOf)],
        });
        const failed = [...refused, ...retried].filter(({ failureCode }) => failureCode !== null);
        await queryStore(transaction, {
          name: 'note-webhook-retries',
          text: `insert into webhook_deliveries as d
              (endpoint, event_id, attempts, failure_code, next_attempt_at)
            select $1, f.event_id, 1, f.code,
              clock_timestamp() + make_interval(secs => f.retry_ms / 1000)
            from unnest($2::bigint[], $3::text[], $4::double precision[]) f (event_id, code, retry_ms)
            -- One may be gone for its age.
            where exists (select from events e where e.id = f.event_id)
            on conflict (endpoint, event_id) do update set attempts = d.attempts + 1,
              failure_code = excluded.failure_code, next_attempt_at = excluded.next_attempt_at`,
          values: [
            name,
            failed.map(numberOf),
            failed.map(({ failureCode }) => failureCode),
            failed.map(({ retryAfterMs }) => retryAfterMs),
          ],
        });
      });
    },

    async recordFailure({ name, from, code, retryAfterMs, parkAfterMs }) {
      const [row] = await queryStore<{ is_parked: boolean }>(store, {
        name: 'webhook-failed',
        text: `update webhook_endpoints set
            failing_since = coalesce(failing_since, now()),
            failure_count = failure_count + 1, failure_code = $4,
            next_attempt_at = clock_timestamp() + make_interval(secs => $5::double precision / 1000),
            parked_at = case when now() >= coalesce(failing_since, now())
              + make_interval(secs => $6::double precision / 1000) then now() end
          where name = $1 and xid = $2::xid8 and event_id = $3 and parked_at is null
          returning parked_at is not null as is_parked`,
        values: [name, from.xid, from.id, code, retryAfterMs, parkAfterMs],
      });
      return row?.is_parked === true;
    },
  };
}

/** The number in `evt_<number>`. */
function numberOf({ eventId }: DeliveryEnd): string {
  return eventId.slice('evt_'.length);
}
