-- Up Migration
-- The key that a connection proves possession of (RFC 9449).
alter table connections add column sealed_dpop_key bytea;
alter table connections add column dpop_key_id uuid references data_keys (id);
create index connections_dpop_key on connections (dpop_key_id) where dpop_key_id is not null;

-- What may be told of an app's write-only credentials; they lie sealed beside its client secrets.
alter table apps add column private_key_type text;
alter table apps add column client_certificate_expires_at timestamptz;

-- Down Migration
