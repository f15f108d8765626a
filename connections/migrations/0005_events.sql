-- Up Migration
-- The feed of a caller who sees some tenants only.
create index events_tenant on events (tenant_id, xid, id);

-- What cursors of the feed are judged by: one of another epoch is from before a restore, one before the newest
-- event that was deleted for its age has missed some.
create table event_feed (
  is_only boolean primary key default true check (is_only),
  epoch integer not null default 1,
  trimmed_xid xid8 not null default '0',
  trimmed_id bigint not null default 0
);
insert into event_feed default values;

-- How far each endpoint of WEBHOOKS_FILE has got in the feed, and how it fares.
create table webhook_endpoints (
  name text primary key,
  xid xid8 not null,
  event_id bigint not null,
  delivered_at timestamptz,
  -- While it takes nothing at all.
  failing_since timestamptz,
  failure_count integer not null default 0,
  failure_code text,
  next_attempt_at timestamptz,
  parked_at timestamptz,
  created_at timestamptz not null default now()
);

-- Events that an endpoint has refused while it took others. Without next_attempt_at: parked.
create table webhook_deliveries (
  endpoint text not null references webhook_endpoints (name) on delete cascade,
  event_id bigint not null references events (id) on delete cascade,
  attempts integer not null,
  failure_code text not null,
  next_attempt_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (endpoint, event_id)
);
create index webhook_deliveries_due on webhook_deliveries (endpoint, next_attempt_at);
create index webhook_deliveries_event on webhook_deliveries (event_id);

-- Down Migration
