import type { VisibleTenants } from './registry.ts';
import { queryStore, tenantsParameter, type Queryable } from './store-query.ts';

/**
 * Nothing is sent for a paused connection; an exchange in flight ends and is stored, for the token that it
 * has spent is worth nothing any more. Idempotent.
 */
export async function pauseConnection(
  store: Queryable,
  connectionId: string,
  visibleTo: VisibleTenants,
): Promise<void> {
  await queryStore(store, {
    name: 'pause-connection',
    text: `update connections set paused_at = clock_timestamp(), updated_at = now()
      where id = $1 and ($2::text[] is null or tenant_id = any($2))
        and deleted_at is null and paused_at is null`,
    values: [connectionId, tenantsParameter(visibleTo)],
  });
}

/**
 * Lets a connection be refreshed again. One with a verdict may be tried once, now, for the operator may
 * know better: the verdict stands until an answer says otherwise. Idempotent.
 */
export async function resumeConnection(
  store: Queryable,
  connectionId: string,
  visibleTo: VisibleTenants,
): Promise<void> {
  await queryStore(store, {
    name: 'resume-connection',
    text: `with target as (
        select id, verdict is not null and case credential
            when 'refresh_token' then sealed_refresh_token is not null
            when 'access_token' then sealed_access_token is not null
            else true end as is_probed
        from connections
        where id = $1 and ($2::text[] is null or tenant_id = any($2))
          and deleted_at is null and (paused_at is not null or verdict is not null)
        for update
      )
      update connections c set paused_at = null,
        probe_requested_at = case when t.is_probed then clock_timestamp() end,
        refresh_due_at = case when t.is_probed then clock_timestamp() else c.refresh_due_at end,
        updated_at = now()
      from target t where c.id = t.id`,
    values: [connectionId, tenantsParameter(visibleTo)],
  });
}
