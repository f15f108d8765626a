-- Up Migration
-- Which data key seals late tokens, so that no key is dropped that they need. Read from the sealed value itself
-- (vault/sealed-value.ts): the id lies behind the version byte.
alter table refresh_intents add column late_key_id uuid
  generated always as (
    case when octet_length(late_sealed) >= 45
      then encode(substring(late_sealed from 2 for 16), 'hex')::uuid end
  ) stored references data_keys (id);
create index refresh_intents_late_key on refresh_intents (late_key_id) where late_key_id is not null;

-- Down Migration
