-- Up Migration
-- What is known of an app at one token host, for every replica alike; made by the first send that needs it
-- and deleted when the app's credentials change, so an answer to the old ones finds no gate to write to.
create table app_gates (
  id bigint generated always as identity primary key,
  app_id text not null references apps (id) on delete cascade,
  host text not null,
  last_success_at timestamptz,
  closed_at timestamptz,
  closed_until timestamptz,
  closed_reason text,
  failure_count integer not null default 0,
  last_failed_connection text,
  refusal_count integer not null default 0,
  suspected_connection text,
  suspected_at timestamptz,
  -- Claim id and end (milliseconds since 1970) of each send under way that is counted. In the row, so that
  -- one statement that locks it decides on all of them as they are.
  leases jsonb not null default '{}',
  recent_sends timestamptz[] not null default '{}'
) with (fillfactor = 50);
-- Answers every read of a token without the table.
create unique index app_gates_host on app_gates (app_id, host) include (closed_until, closed_reason);

alter table connections
  add column recent_sends timestamptz[] not null default '{}',
  add column forced_sends timestamptz[] not null default '{}',
  add column token_host text;
create index connections_misconfigured on connections (app_id, id) where failure_class = 'misconfigured';

-- Down Migration
