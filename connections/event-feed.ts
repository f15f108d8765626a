import { TokenManagerError, type EventType } from '../client/contract.ts';
import { eventColumns, eventFromRow, settledEvent, type EventRow } from './event-columns.ts';
import type { VisibleTenants } from './registry.ts';
import { queryStore, tenantsParameter, type Queryable } from './store-query.ts';

/** After so long an event is deleted; whoever reads the feed must do so more often. */
export const eventsKeptDays = 30;
const trimmedMax = 10_000;
/** Epoch, transaction and number. */
const cursorPattern = /^(\d{1,9})\.(\d{1,18})\.(\d{1,18})$/;

/** A transition, as the feed and webhooks tell it. */
export interface FeedEvent {
  /** `evt_` and a number; the same in the feed and in every delivery. */
  id: string;
  at: Date;
  type: EventType;
  /** Null, like the connection, for events of an app. */
  tenantId: string | null;
  appId: string;
  connectionId: string | null;
  data: Record<string, unknown>;
}

/**
 * Where a reader stands: transaction and number, in decimal. Numbers alone are no order to read on from,
 * for they are given out before their transactions commit.
 */
export interface EventPosition {
  xid: string;
  id: string;
}

export interface EventPage {
  items: FeedEvent[];
  /** To read on from, at the end of the feed too; null: there is no event yet. */
  nextCursor: string | null;
}

/** What the gateway asks of events. May throw `store_unavailable`. */
export interface EventFeed {
  /**
   * Events in the order of their transactions; one that commits late stands after those that were read
   * before, never between them. Events of apps are for those who see every tenant. A cursor that is none,
   * is older than what is kept, or is of another database throws `input_validation`.
   */
  read(query: { after?: string; limit: number; visibleTo: VisibleTenants }): Promise<EventPage>;
}

export function createEventFeed(store: Queryable): EventFeed {
  return {
    async read({ after, limit, visibleTo }) {
      const position = after === undefined ? null : parseCursor(after);
      const rows = await queryStore<
        ({ id: null } | EventRow) & { epoch: number; is_gone: boolean }
      >(store, {
        name: 'read-events',
        text: `select f.epoch, found.*,
            coalesce((f.trimmed_xid, f.trimmed_id) > ($1::xid8, $2::bigint), false) as is_gone
          from event_feed f left join lateral (
            select ${eventColumns} from events e
            where (e.xid, e.id) > (coalesce($1::xid8, '0'), coalesce($2::bigint, 0)) and ${settledEvent}
              and ($3::text[] is null or e.tenant_id = any($3))
            order by e.xid, e.id limit $4
          ) found on true
          order by found.xid::xid8, found.id`,
        values: [position?.xid ?? null, position?.id ?? null, tenantsParameter(visibleTo), limit],
      });
      const [first] = rows;
      if (first === undefined) throw new Error('event_feed has no row');
      if (position !== null && position.epoch !== first.epoch) {
        throw cursorFault('is from before the database was restored');
      }
      if (first.is_gone) throw cursorFault('is older than the events that are kept');
      const events = rows.flatMap((row) => (row.id === null ? [] : [row]));
      const last = events.at(-1);
      return {
        items: events.map(eventFromRow),
        nextCursor: last === undefined ? (after ?? null) : formatCursor(first.epoch, last),
      };
    },
  };
}

/**
 * Deletes what is older than `eventsKeptDays`, in the order of the feed and a bounded number at a time, and
 * notes how far. Resolves with how many there were.
 */
export async function trimEvents(store: Queryable): Promise<number> {
  const [row] = await queryStore<{ count: number }>(store, {
    name: 'trim-events',
    text: `with oldest as (
        select xid, id, at from events order by xid, id limit ${trimmedMax}
      ), gone as (
        delete from events e using oldest o
        where e.id = o.id and o.at < now() - interval '${eventsKeptDays} days'
        returning e.xid, e.id
      ), newest as (
        select xid, id from gone order by xid desc, id desc limit 1
      ), noted as (
        update event_feed f set trimmed_xid = n.xid, trimmed_id = n.id from newest n
        where (n.xid, n.id) > (f.trimmed_xid, f.trimmed_id)
      )
      select count(*)::integer as count from gone`,
    values: [],
  });
  return row?.count ?? 0;
}

function formatCursor(epoch: number, { xid, id }: EventPosition): string {
  return Buffer.from(`${epoch}.${xid}.${id}`).toString('base64url');
}

function parseCursor(cursor: string): EventPosition & { epoch: number } {
  const parts = cursorPattern.exec(Buffer.from(cursor, 'base64url').toString('utf8'));
  const [, epoch, xid, id] = parts ?? [];
  if (xid === undefined || id === undefined) {
    throw cursorFault('must be a next_cursor of an earlier page');
  }
  return { epoch: Number(epoch), xid, id };
}

function cursorFault(detail: string): TokenManagerError {
  return new TokenManagerError('input_validation', {
    errors: [{ parameter: 'after', detail: `${detail}; without it the feed begins anew` }],
  });
}
