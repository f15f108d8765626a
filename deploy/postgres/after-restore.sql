-- For a database that was restored to a moment before its last commit; before any gateway or worker starts on it:
--   psql "$DATABASE_URL" -v workers_stopped_at='2026-11-24 02:10:00+00' -f deploy/postgres/after-restore.sql
-- docs/operations.md, after a restore, says what to do with the rows it lists.
\set ON_ERROR_STOP on
begin;

-- What was lost may hold newer refresh tokens than what is here. Sending an older one again ends a family (F, T
-- beyond its grace) or brings a refusal that reads like a customer's (X, C), so nothing is sent until somebody has looked.
with ahead as (
  select c.id,
    case
      when i.connection_id is not null then 'a send was under way'
      when c.refresh_due_at <= :'workers_stopped_at'::timestamptz then 'a refresh was due'
      else 'only if somebody forced one'
    end as why
  from connections c
  left join refresh_intents i on i.connection_id = c.id
  where c.rotation_class in ('X', 'F', 'T', 'C')
    and c.sealed_refresh_token is not null
    and c.deleted_at is null and c.paused_at is null and c.verdict is null
)
update connections c
set paused_at = now(), updated_at = now()
from ahead
where c.id = ahead.id
returning c.id, c.tenant_id, c.app_id, c.rotation_class, c.expires_at, ahead.why;

-- Callers still name the versions that were lost; numbers that were handed out must not come again.
update connections set token_version = token_version + 1000 where deleted_at is null;

-- Transactions are numbered anew from that moment, or from the start in another cluster: readers of the feed have to
-- begin again, and events that seem to lie ahead are put in the order of their numbers.
update event_feed set epoch = epoch + 1;
update webhook_endpoints w set xid = '1', event_id = coalesce(
  (select min(e.id) - 1 from events e where (e.xid, e.id) > (w.xid, w.event_id)),
  (select max(id) from events), 0)
where exists (select from events where xid >= pg_snapshot_xmax(pg_current_snapshot()));
update event_feed set trimmed_xid = '0', trimmed_id = 0
where exists (select from events where xid >= pg_snapshot_xmax(pg_current_snapshot()));
update events set xid = '1'
where exists (select from events where xid >= pg_snapshot_xmax(pg_current_snapshot()));

commit;
