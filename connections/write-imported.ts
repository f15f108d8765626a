import { announceEvent } from './announce-event.ts';
import type { ExaminedImport, ImportedRow } from './imported-row.ts';
import type { ConnectionInput } from './registry.ts';
import type { StoredConnection } from './stored-connections.ts';
import { queryStore, type Queryable } from './store-query.ts';
import { tellTokenChange } from './token-notices.ts';

/**
 * Inserts connections and remembers their refresh tokens. Answers the ids of those inserted: the others
 * are taken since they were looked for. No notice is told, for nobody can have read what was not there.
 */
export async function insertConnections(
  transaction: Queryable,
  rows: ImportedRow[],
): Promise<Set<string>> {
  const inserted = await queryStore<{ id: string }>(transaction, {
    name: 'insert-connections',
    text: insertText,
    values: [
      rows.map(({ owner }) => owner.id),
      rows.map(({ owner }) => owner.tenantId),
      rows.map(({ appId }) => appId),
      rows.map(({ owner }) => owner.generation),
      rows.map(({ isNewAccessToken }) => (isNewAccessToken ? 1 : 0)),
      rows.map(({ credential }) => credential),
      rows.map(({ rotationClass }) => rotationClass),
      rows.map(({ accessToken }) => accessToken?.bytes ?? null),
      rows.map(({ accessToken }) => accessToken?.dataKeyId ?? null),
      rows.map(({ refreshToken }) => refreshToken?.bytes ?? null),
      rows.map(({ refreshToken }) => refreshToken?.dataKeyId ?? null),
      rows.map(({ fingerprint }) => fingerprint),
      rows.map(({ scope }) => scope),
      rows.map(({ expiry }) => expiry.expiresAt),
      rows.map(({ expiry }) => expiry.lifetimeSeconds),
      rows.map(({ expiry }) => expiry.assumed),
      rows.map(({ expiry }) => expiry.refreshDueAt),
      rows.map(({ variables }) => JSON.stringify(variables)),
      rows.map(({ metadata }) => JSON.stringify(metadata)),
      rows.map(({ tokenHost }) => tokenHost),
      rows.map(({ dpopKey }) => dpopKey?.bytes ?? null),
      rows.map(({ dpopKey }) => dpopKey?.dataKeyId ?? null),
      rows.map(({ grantEnd }) => grantEnd?.endsAt ?? null),
      rows.map(({ grantEnd }) => grantEnd?.noticeAt ?? null),
    ],
  });
  return new Set(inserted.map(({ id }) => id));
}

// In the order of the ids, so that two that insert the same ones wait for each other and do not deadlock.
const insertText = `with stored as (
    insert into connections (id, tenant_id, app_id, generation, token_version, credential, rotation_class,
      sealed_access_token, access_key_id, sealed_refresh_token, refresh_key_id, refresh_fingerprint,
      scope, expires_at, lifetime_seconds, expiry_assumed, refresh_due_at, variables, metadata,
      token_host, sealed_dpop_key, dpop_key_id, reauthorize_by, reauthorize_notice_at)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
      $8::bytea[], $9::uuid[], $10::bytea[], $11::uuid[], $12::bytea[],
      $13::text[], $14::timestamptz[], $15::double precision[], $16::boolean[], $17::timestamptz[],
      $18::jsonb[], $19::jsonb[], $20::text[], $21::bytea[], $22::uuid[], $23::timestamptz[],
      $24::timestamptz[]) as given (id)
    order by given.id collate "C"
    on conflict (id) do nothing
    returning id, refresh_fingerprint
  ), remembered as (
    insert into refresh_token_fingerprints (connection_id, fingerprint)
    select id, refresh_fingerprint from stored where refresh_fingerprint is not null
  )
  select id from stored`;

/**
 * Writes the row in the place of the one of the generation before, or of a tombstone; false: somebody
 * wrote it in between.
 */
export async function replaceCredentials(
  transaction: Queryable,
  row: ImportedRow,
): Promise<boolean> {
  const replaced = await queryStore(transaction, {
    name: 'replace-credentials',
    text: replaceText,
    values: [
      row.owner.id,
      row.owner.tenantId,
      row.appId,
      row.owner.generation,
      row.isNewAccessToken ? 1 : 0,
      row.credential,
      row.rotationClass,
      row.accessToken?.bytes ?? null,
      row.accessToken?.dataKeyId ?? null,
      row.refreshToken?.bytes ?? null,
      row.refreshToken?.dataKeyId ?? null,
      row.fingerprint,
      row.scope,
      row.expiry.expiresAt,
      row.expiry.lifetimeSeconds,
      row.expiry.assumed,
      row.expiry.refreshDueAt,
      row.variables,
      row.metadata,
      row.tokenHost,
      row.dpopKey?.bytes ?? null,
      row.dpopKey?.dataKeyId ?? null,
      row.grantEnd?.endsAt ?? null,
      row.grantEnd?.noticeAt ?? null,
      row.isConsent,
    ],
  });
  return replaced.length === 1;
}

const replaceText = `with target as (
    select id, tenant_id, app_id, verdict from connections
    where id = $1 and tenant_id = $2 and (app_id = $3 or app_id is null) and generation = $4::bigint - 1
    for update
  ), stored as (
    update connections c set app_id = $3, generation = $4, token_version = c.token_version + $5,
      credential = $6, rotation_class = $7,
      sealed_access_token = $8, access_key_id = $9, sealed_refresh_token = $10, refresh_key_id = $11,
      refresh_fingerprint = $12, scope = $13, expires_at = $14, lifetime_seconds = $15,
      expiry_assumed = $16, refresh_due_at = $17, variables = $18, metadata = $19, token_host = $20,
      sealed_dpop_key = $21, dpop_key_id = $22,
      -- Only the customer's consent begins a grant anew.
      reauthorize_by = case when $25 then $23 else c.reauthorize_by end,
      reauthorize_notice_at = case when $25 then $24 else c.reauthorize_notice_at end,
      refresh_token_expires_at = case when not $25 then c.refresh_token_expires_at end, next_attempt_at = null, failure_class = null, failure_code = null,
      failure_at = null, failure_count = 0, verdict = null, verdict_at = null, probe_requested_at = null, uncertain_since = null,
      deleted_at = null, updated_at = now()
    from target where c.id = target.id
    returning c.id
  ), removed as (
    delete from refresh_intents i using stored where i.connection_id = stored.id
  ), remembered as (
    insert into refresh_token_fingerprints (connection_id, fingerprint)
    select id, $12 from stored where $12::bytea is not null
    on conflict (connection_id, fingerprint) do update set held_at = now()
  ), announced as (
    ${announceEvent({
      type: 'connection.recovered',
      source: 'target t join stored s on s.id = t.id',
      condition: 't.verdict is not null',
      data: `jsonb_build_object('after', t.verdict)`,
    })}
  )
  select id, ${tellTokenChange('id')} from stored`;

/** An import that leaves the stored tokens as they are. */
export interface KeptImport {
  stored: StoredConnection;
  input: ConnectionInput;
  examined: ExaminedImport;
}

/**
 * Writes what no generation binds. Answers the ids of those whose credentials are still the ones that
 * were read; the others are as they were.
 */
export async function updateConnectionFacts(
  store: Queryable,
  kept: KeptImport[],
): Promise<Set<string>> {
  const updated = await queryStore<{ id: string }>(store, {
    name: 'update-connection-facts',
    text: `update connections c set scope = coalesce(given.scope, c.scope),
        variables = coalesce(given.variables, c.variables), metadata = coalesce(given.metadata, c.metadata),
        token_host = given.token_host,
        sealed_dpop_key = coalesce(given.sealed_dpop_key, c.sealed_dpop_key),
        dpop_key_id = coalesce(given.dpop_key_id, c.dpop_key_id), updated_at = now()
      from unnest($1::text[], $2::bigint[], $3::text[], $4::jsonb[], $5::jsonb[], $6::text[], $7::bytea[],
        $8::uuid[]) as given
        (id, generation, scope, variables, metadata, token_host, sealed_dpop_key, dpop_key_id)
      where c.id = given.id and c.generation = given.generation
      returning c.id`,
    values: [
      kept.map(({ stored }) => stored.connection.id),
      kept.map(({ stored }) => stored.connection.generation),
      kept.map(({ input }) => input.scope ?? null),
      kept.map(({ input }) => jsonOrNull(input.variables)),
      kept.map(({ input }) => jsonOrNull(input.metadata)),
      kept.map(({ examined }) => examined.tokenHost),
      kept.map(({ examined }) => examined.givenDpopKey?.bytes ?? null),
      kept.map(({ examined }) => examined.givenDpopKey?.dataKeyId ?? null),
    ],
  });
  return new Set(updated.map(({ id }) => id));
}

function jsonOrNull(members: Record<string, unknown> | undefined): string | null {
  return members === undefined ? null : JSON.stringify(members);
}
