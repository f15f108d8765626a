-- Up Migration
create table data_keys (
  id uuid primary key,
  purpose text not null,
  wrapped bytea not null,
  key_provider text not null,
  key_version text not null,
  created_at timestamptz not null default now(),
  retired_at timestamptz
);
-- One current key a purpose: two processes that make the first one at once agree on the winner's.
create unique index data_keys_current on data_keys (purpose) where retired_at is null;

create table apps (
  id text primary key,
  provider text not null,
  client_id text not null,
  generation bigint not null,
  client_secret_count integer not null,
  sealed_client_secrets bytea,
  client_secrets_key_id uuid references data_keys (id),
  overrides jsonb not null default '{}',
  limits jsonb not null default '{}',
  tenant_ids text[],
  paused_until timestamptz,
  paused_reason text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index apps_client_secrets_key on apps (client_secrets_key_id);

create table connections (
  id text primary key,
  tenant_id text not null,
  app_id text not null references apps (id),
  generation bigint not null,
  token_version bigint not null,
  attempt bigint not null default 0,
  credential text not null,
  rotation_class text not null,
  sealed_access_token bytea,
  access_key_id uuid references data_keys (id),
  sealed_refresh_token bytea,
  refresh_key_id uuid references data_keys (id),
  refresh_fingerprint bytea,
  token_type text not null default 'Bearer',
  scope text,
  expires_at timestamptz,
  lifetime_seconds double precision,
  expiry_assumed boolean not null default false,
  refresh_token_expires_at timestamptz,
  refresh_due_at timestamptz,
  next_attempt_at timestamptz,
  last_sent_at timestamptz,
  last_refreshed_at timestamptz,
  failure_class text,
  failure_code text,
  failure_at timestamptz,
  failure_count integer not null default 0,
  verdict text,
  verdict_at timestamptz,
  uncertain_since timestamptz,
  paused_at timestamptz,
  deleted_at timestamptz,
  variables jsonb not null default '{}',
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index connections_tenant on connections (tenant_id, id);
create index connections_app on connections (app_id, id);
create index connections_due on connections (refresh_due_at) where refresh_due_at is not null;
create index connections_access_key on connections (access_key_id);
create index connections_refresh_key on connections (refresh_key_id);
create index connections_fingerprint on connections (app_id, refresh_fingerprint)
  where refresh_fingerprint is not null;

-- A refresh token is being spent, or was and nobody knows with what end.
create table refresh_intents (
  connection_id text primary key references connections (id),
  generation bigint not null,
  attempt bigint not null,
  replays integer not null,
  claim_id uuid not null,
  fingerprint bytea,
  workflow_run_id text not null,
  first_sent_at timestamptz not null,
  sent_at timestamptz not null,
  answer_by timestamptz not null,
  late_attempt bigint,
  late_sealed bytea
);

create table refresh_token_fingerprints (
  connection_id text not null references connections (id),
  fingerprint bytea not null,
  held_at timestamptz not null default now(),
  primary key (connection_id, fingerprint)
);

-- The newest attempts of each connection; every statement that adds one trims the rest.
create table refresh_log (
  id bigint generated always as identity primary key,
  connection_id text not null references connections (id),
  at timestamptz not null default now(),
  outcome text not null,
  class text,
  code text,
  duration_ms integer not null,
  trigger text not null,
  run_id text not null
);
create index refresh_log_connection on refresh_log (connection_id, id);

-- Outbox: written in the statement that changes the state.
create table events (
  id bigint generated always as identity primary key,
  xid xid8 not null default pg_current_xact_id(),
  at timestamptz not null default now(),
  type text not null,
  tenant_id text not null,
  app_id text not null,
  connection_id text,
  data jsonb not null default '{}'
);
create index events_order on events (xid, id);

-- Down Migration
