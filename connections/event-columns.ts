import type { EventType } from '../client/contract.ts';
import type { FeedEvent } from './event-feed.ts';

/** What every SELECT of an event fetches, from `events e`. */
export const eventColumns = `e.xid::text as xid, e.id, e.at, e.type, e.tenant_id, e.app_id,
  e.connection_id, e.data`;

/** All older transactions have ended: no event can still appear before one of these. */
export const settledEvent = `e.xid < pg_snapshot_xmin(pg_current_snapshot())`;

export interface EventRow {
  /** bigint and xid8: `pg` gives these as strings. */
  xid: string;
  id: string;
  at: Date;
  type: EventType;
  tenant_id: string;
  app_id: string;
  connection_id: string | null;
  data: Record<string, unknown>;
}

export function eventFromRow(row: EventRow): FeedEvent {
  return {
    id: `evt_${row.id}`,
    at: row.at,
    type: row.type,
    tenantId: row.tenant_id === '' ? null : row.tenant_id,
    appId: row.app_id,
    connectionId: row.connection_id,
    data: row.data,
  };
}
