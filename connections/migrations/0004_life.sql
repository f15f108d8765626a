-- Up Migration
-- What is left of a deleted connection, once nothing is to be revoked any more, is its id, its tenant and
-- its counters: no app, so that the app can be deleted.
alter table connections alter column app_id drop not null;

alter table connections
  -- Somebody wants to see whether a grant with a verdict is over indeed: one exchange may be made.
  add column probe_requested_at timestamptz,
  -- The known end of the grant, which no refresh puts off, and when its customer is to hear of it; the
  -- latter is null once that was told.
  add column reauthorize_by timestamptz,
  add column reauthorize_notice_at timestamptz;

-- The sweep asks for the earliest of each app, so that an app with a long backlog hides no other.
create index connections_sweep on connections (app_id, refresh_due_at)
  where refresh_due_at is not null and paused_at is null;
drop index connections_due;
create index connections_notice on connections (reauthorize_notice_at)
  where reauthorize_notice_at is not null;
create index connections_deleted on connections (deleted_at) where deleted_at is not null;

-- A token that is to be revoked at its provider. The row that the deletion itself writes has the
-- generation that it ended, and stays pending until the whole disconnect is done; tokens of that
-- generation whose answer comes later find it, and add rows of their own.
create table revocations (
  id bigint generated always as identity primary key,
  connection_id text not null references connections (id),
  tenant_id text not null,
  app_id text references apps (id) on delete set null,
  variables jsonb not null,
  generation bigint not null,
  is_disconnect boolean not null,
  token_kind text not null,
  -- Sealed for the connection and this row's generation; null once it is revoked, or if there was none.
  sealed_token bytea,
  data_key_id uuid references data_keys (id),
  -- By which the same token is not listed twice: its fingerprint, or the hash of its sealed form.
  token_id bytea not null,
  state text not null default 'pending',
  attempts integer not null default 0,
  revoked_at timestamptz,
  last_code text,
  next_attempt_at timestamptz not null default now(),
  created_at timestamptz not null default now()
);
create unique index revocations_token on revocations (connection_id, token_id);
create index revocations_pending on revocations (next_attempt_at) where state = 'pending';
create index revocations_data_key on revocations (data_key_id) where data_key_id is not null;
create index revocations_app on revocations (app_id) where app_id is not null;

-- Down Migration
