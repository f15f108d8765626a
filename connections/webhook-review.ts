import { eventColumns, eventFromRow, type EventRow } from './event-columns.ts';
import type { FeedEvent } from './event-feed.ts';
import {
  inTransaction,
  queryStore,
  type Queryable,
  type TransactionalStore,
} from './store-query.ts';
import {
  standingColumns,
  standingFromRow,
  type EndpointStanding,
  type StandingRow,
} from './webhook-store.ts';

/** An endpoint as operators look at it. */
export interface ReviewedEndpoint extends EndpointStanding {
  /** Events that it refused while it took others, and that it will be sent again. */
  retryingCount: number;
  /** The same, given up until somebody lets them go. */
  parkedCount: number;
}

/** An event that an endpoint has refused. */
export interface RefusedDelivery {
  event: FeedEvent;
  attempts: number;
  failureCode: string;
  /** Null: it is parked. */
  nextAttemptAt: Date | null;
  firstRefusedAt: Date;
}

/** Every endpoint that was ever served, by name. */
export async function reviewEndpoints(store: Queryable): Promise<ReviewedEndpoint[]> {
  const rows = await queryStore<StandingRow & { retrying: number; parked: number }>(store, {
    name: 'review-webhooks',
    text: `select ${standingColumns},
        (select count(*) from webhook_deliveries d
          where d.endpoint = w.name and d.next_attempt_at is not null)::integer as retrying,
        (select count(*) from webhook_deliveries d
          where d.endpoint = w.name and d.next_attempt_at is null)::integer as parked
      from webhook_endpoints w order by w.name`,
    values: [],
  });
  return rows.map((row) => ({
    ...standingFromRow(row),
    retryingCount: row.retrying,
    parkedCount: row.parked,
  }));
}

/** What an endpoint has refused, the oldest events first. */
export async function listRefusedDeliveries(
  store: Queryable,
  endpoint: string,
  limit: number,
): Promise<RefusedDelivery[]> {
  const rows = await queryStore<
    EventRow & {
      attempts: number;
      failure_code: string;
      next_attempt_at: Date | null;
      created_at: Date;
    }
  >(store, {
    name: 'list-refused-deliveries',
    text: `select ${eventColumns}, d.attempts, d.failure_code, d.next_attempt_at, d.created_at
      from webhook_deliveries d join events e on e.id = d.event_id
      where d.endpoint = $1 order by d.event_id limit $2`,
    values: [endpoint, limit],
  });
  return rows.map((row) => ({
    event: eventFromRow(row),
    attempts: row.attempts,
    failureCode: row.failure_code,
    nextAttemptAt: row.next_attempt_at,
    firstRefusedAt: row.created_at,
  }));
}

/**
 * Sends an endpoint again what it is owed, at once: ends a parking and a pause between attempts, of the
 * endpoint and of each event that it refused; days of patience begin anew. Undefined: there is no such
 * endpoint. Idempotent.
 */
export async function retryEndpoint(
  store: TransactionalStore,
  endpoint: string,
): Promise<{ wasParked: boolean; deliveries: number } | undefined> {
  return inTransaction(store, async (transaction) => {
    const [row] = await queryStore<{ was_parked: boolean }>(transaction, {
      name: 'retry-webhook',
      text: `with target as (
          select name as target_name, parked_at from webhook_endpoints where name = $1 for update
        )
        update webhook_endpoints set parked_at = null, failing_since = null, failure_count = 0,
          next_attempt_at = null
        from target where name = target_name
        returning target.parked_at is not null as was_parked`,
      values: [endpoint],
    });
    if (row === undefined) return undefined;
    const deliveries = await queryStore(transaction, {
      name: 'retry-webhook-deliveries',
      text: `update webhook_deliveries set next_attempt_at = clock_timestamp(), attempts = 0, created_at = now()
        where endpoint = $1 returning event_id`,
      values: [endpoint],
    });
    return { wasParked: row.was_parked, deliveries: deliveries.length };
  });
}
