import type { EventType } from '../client/contract.ts';

type Subject<Kind extends string> = Extract<EventType, `${Kind}.${string}`>;

interface Announcement<Kind extends string> {
  type: Subject<Kind>;
  /** What follows FROM. */
  source: string;
  /** Default: each row of the source. */
  condition?: string;
  /** A jsonb expression over the source; never a secret, nor text of a provider. */
  data: string;
}

/**
 * Part of the statement that changes a connection's state (a CTE, or the statement itself), so that there
 * is no change without its event and no event without its change. The source must bring a relation `t`
 * with `id`, `tenant_id` and `app_id`.
 */
export function announceEvent(event: Announcement<'connection'>): string {
  return `insert into events (type, tenant_id, app_id, connection_id, data)
        select '${event.type}', t.tenant_id, t.app_id, t.id, ${event.data}
        from ${event.source}${whereOf(event.condition)}`;
}

/** The same for an app, of no tenant; the source must bring a relation `a` with `id`. */
export function announceAppEvent(event: Announcement<'app'>): string {
  return `insert into events (type, tenant_id, app_id, data)
        select '${event.type}', '', a.id, ${event.data}
        from ${event.source}${whereOf(event.condition)}`;
}

function whereOf(condition: string | undefined): string {
  return condition === undefined ? '' : ` where ${condition}`;
}
