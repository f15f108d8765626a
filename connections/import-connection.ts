import { TokenManagerError } from '../client/contract.ts';
import type { Secret } from '../platform/secret.ts';
import { announceEvent } from './announce-event.ts';
import type { ProviderFacts } from './app.ts';
import {
  connectionColumns,
  connectionFromRow,
  connectionTables,
  type ConnectionRow,
} from './connection-row.ts';
import type { ConnectionRegistryDependencies } from './connection-registry.ts';
import type { Connection, RotationClass } from './connection.ts';
import { clampLifetimeSeconds } from './freshness.ts';
import { grantEnd } from './grant-lifetime.ts';
import { importedExpiry } from './import-expiry.ts';
import { revoking } from './disconnect-connection.ts';
import { parseDpopKey, requireDpopKey } from './dpop-key.ts';
import type { ConnectionInput, ImportResult } from './registry.ts';
import { inTransaction, queryStore, type Queryable } from './store-query.ts';
import { tellTokenChange } from './token-notices.ts';
import { dpopKeyGeneration, type SealedValue } from './token-vault.ts';

const conflictRetriesMax = 5;
/** Where a second holder of the same refresh token would end the grant of the first. */
const exclusiveClasses = new Set<RotationClass>(['T', 'C', 'X', 'F']);

interface StoredRow extends ConnectionRow {
  sealed_access_token: Buffer | null;
  sealed_refresh_token: Buffer | null;
  sealed_dpop_key: Buffer | null;
  dpop_key_id: string | null;
  refresh_fingerprint: Buffer | null;
}

interface Stored {
  connection: Connection;
  sealedAccessToken: Buffer | null;
  sealedRefreshToken: Buffer | null;
  sealedDpopKey: SealedValue | null;
  refreshFingerprint: Buffer | null;
}

type Import = (connectionId: string, input: ConnectionInput) => Promise<ImportResult>;

/**
 * `PUT /v1/connections/{id}`: new credentials win over any refresh in flight, because they raise the
 * generation that its writes are conditional on. Idempotent by the refresh token's fingerprint.
 */
export function createConnectionImport(dependencies: ConnectionRegistryDependencies): Import {
  const { store, vault, apps, providers, random } = dependencies;

  return async (connectionId, input) => {
    const app = await apps.get(input.appId, new Set([input.tenantId]));
    if (app === undefined) throw new TokenManagerError('app_not_found');
    const facts = providers.describe(app.provider, app.overrides);
    for (let round = 0; round < conflictRetriesMax; round += 1) {
      const result = await importOnce(connectionId, input, {
        facts,
        provider: app.provider,
        overrides: app.overrides,
      });
      if (result !== undefined) return result;
    }
    throw new TokenManagerError('store_unavailable', {
      detail: 'The connection is being written by others; try again.',
      retryAfterSeconds: 1,
      connectionId,
    });
  };

  /** Undefined: somebody wrote the connection in between. */
  async function importOnce(
    connectionId: string,
    input: ConnectionInput,
    app: { facts: ProviderFacts; provider: string; overrides: Record<string, unknown> },
  ): Promise<ImportResult | undefined> {
    const found = await readStored(store, connectionId);
    const tombstone = found === undefined ? await readTombstone(store, connectionId) : undefined;
    // Another tenant's connection is not there for whoever imports, up to the very insert: the answer
    // tells of it only where an unknown id would have become a connection.
    const holder = found?.connection.tenantId ?? tombstone?.tenantId ?? input.tenantId;
    const isForeign = holder !== input.tenantId;
    const stored = isForeign ? undefined : found;
    if (stored !== undefined && stored.connection.appId !== input.appId)
      throw idTaken(connectionId);
    if (stored !== undefined && stored.connection.deletedAt !== null) throw revoking(connectionId);
    const variables = input.variables ?? stored?.connection.variables ?? {};
    providers.checkVariables(app.provider, app.overrides, variables);
    const tokenHost = providers.tokenHost(app.provider, app.overrides, variables);

    const givenDpopKey = input.dpopKey === undefined ? null : parseDpopKey(input.dpopKey);
    const sealer = await vault.sealer();
    const dpopKey =
      givenDpopKey &&
      sealer.seal(
        'dpop-key',
        { tenantId: input.tenantId, id: connectionId, generation: dpopKeyGeneration },
        givenDpopKey,
      );
    const fingerprint =
      input.refreshToken === undefined ? null : sealer.fingerprint(input.refreshToken);
    const heldDpopKey = dpopKey ?? stored?.sealedDpopKey ?? null;
    if (app.facts.needsDpopKey) requireDpopKey(heldDpopKey);
    if (stored !== undefined && fingerprint !== null) {
      if (stored.refreshFingerprint?.equals(fingerprint) === true) {
        return keepCredentials(store, stored, input, { tokenHost, dpopKey });
      }
      if (await wasHeld(store, connectionId, fingerprint)) {
        return { connection: stored.connection, created: false, credentials: 'kept_newer' };
      }
    }
    if (input.accessToken === undefined && input.refreshToken === undefined) {
      if (stored !== undefined) {
        return keepCredentials(store, stored, input, { tokenHost, dpopKey });
      }
      if (app.facts.credential !== 'client') throw tokenMissing();
    }

    const buried = isForeign ? undefined : tombstone;
    const owner = {
      tenantId: input.tenantId,
      id: connectionId,
      generation: (stored?.connection.generation ?? buried?.generation ?? 0) + 1,
    };
    const tokens = await allTokens(input, stored);
    const accessToken =
      tokens.access === null ? null : sealer.seal('access-token', owner, tokens.access);
    const refreshToken =
      tokens.refresh === null ? null : sealer.seal('refresh-token', owner, tokens.refresh);

    return inTransaction(store, async (transaction) => {
      if (fingerprint !== null && exclusiveClasses.has(app.facts.rotationClass)) {
        await refuseSecondHolder(transaction, connectionId, {
          appId: input.appId,
          fingerprint,
          ownId: isForeign ? null : connectionId,
        });
      }
      if (tokens.refresh !== null && input.refreshToken === undefined) {
        await refuseSpending(transaction, connectionId);
      }
      const now = await readClock(transaction);
      const expiry = importedExpiry(input, stored?.connection, {
        credential: app.facts.credential,
        tokens,
        assumeLifetime: (token) =>
          providers.assumeLifetime(app.provider, app.overrides, token, clampLifetimeSeconds),
        now,
        fraction: random(),
        keepAliveSeconds: app.facts.grantLifetime.keepAliveSeconds,
      });
      if (isForeign) throw idTaken(connectionId);
      const isNew = stored === undefined && buried === undefined;
      const isConsent = input.refreshToken !== undefined;
      const end = isConsent ? grantEnd(app.facts.grantLifetime.absoluteSeconds, now) : null;
      const [row] = await queryStore<{ id: string }>(transaction, {
        name: isNew ? 'insert-connection' : 'replace-credentials',
        text: isNew ? insertText : replaceText,
        values: [
          connectionId,
          input.tenantId,
          input.appId,
          owner.generation,
          input.accessToken === undefined ? 0 : 1,
          app.facts.credential,
          app.facts.rotationClass,
          accessToken?.bytes ?? null,
          accessToken?.dataKeyId ?? null,
          refreshToken?.bytes ?? null,
          refreshToken?.dataKeyId ?? null,
          fingerprint ?? stored?.refreshFingerprint ?? null,
          input.scope ?? stored?.connection.scope ?? null,
          expiry.expiresAt,
          expiry.lifetimeSeconds,
          expiry.assumed,
          expiry.refreshDueAt,
          variables,
          input.metadata ?? stored?.connection.metadata ?? {},
          tokenHost,
          heldDpopKey?.bytes ?? null,
          heldDpopKey?.dataKeyId ?? null,
          end?.endsAt ?? null,
          end?.noticeAt ?? null,
          ...(isNew ? [] : [isConsent]),
        ],
      });
      if (row === undefined) return undefined;
      const connection = await readStored(transaction, connectionId);
      if (connection === undefined) return undefined;
      return {
        connection: connection.connection,
        created: stored === undefined,
        credentials: 'stored',
      };
    });
  }

  /** Both tokens are sealed anew, so one that the body omits is opened from the row. */
  async function allTokens(
    input: ConnectionInput,
    kept: Stored | undefined,
  ): Promise<{ access: Secret | null; refresh: Secret | null }> {
    const owner = kept && {
      tenantId: kept.connection.tenantId,
      id: kept.connection.id,
      generation: kept.connection.generation,
    };
    const open = async (
      kind: 'access-token' | 'refresh-token',
      bytes: Buffer | null | undefined,
    ): Promise<Secret | null> =>
      owner === undefined || bytes === null || bytes === undefined
        ? null
        : vault.open(kind, owner, bytes);
    return {
      access: input.accessToken ?? (await open('access-token', kept?.sealedAccessToken)),
      refresh: input.refreshToken ?? (await open('refresh-token', kept?.sealedRefreshToken)),
    };
  }
}

const insertText = `with stored as (
    insert into connections (id, tenant_id, app_id, generation, token_version, credential, rotation_class,
      sealed_access_token, access_key_id, sealed_refresh_token, refresh_key_id, refresh_fingerprint,
      scope, expires_at, lifetime_seconds, expiry_assumed, refresh_due_at, variables, metadata,
      token_host, sealed_dpop_key, dpop_key_id, reauthorize_by, reauthorize_notice_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
      $21, $22, $23, $24)
    on conflict (id) do nothing
    returning id
  ), remembered as (
    insert into refresh_token_fingerprints (connection_id, fingerprint)
    select id, $12 from stored where $12::bytea is not null
  )
  select id from stored`;

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

async function readStored(store: Queryable, connectionId: string): Promise<Stored | undefined> {
  const [row] = await queryStore<StoredRow>(store, {
    name: 'read-stored-connection',
    text: `select ${connectionColumns}, c.sealed_access_token, c.sealed_refresh_token, c.refresh_fingerprint,
        c.sealed_dpop_key, c.dpop_key_id
      from ${connectionTables} where c.id = $1`,
    values: [connectionId],
  });
  return (
    row && {
      connection: connectionFromRow(row),
      sealedAccessToken: row.sealed_access_token,
      sealedRefreshToken: row.sealed_refresh_token,
      sealedDpopKey:
        row.sealed_dpop_key === null || row.dpop_key_id === null
          ? null
          : { bytes: row.sealed_dpop_key, dataKeyId: row.dpop_key_id },
      refreshFingerprint: row.refresh_fingerprint,
    }
  );
}

/** What a deletion has left, if there is no connection of this id. */
async function readTombstone(
  store: Queryable,
  connectionId: string,
): Promise<{ tenantId: string; generation: number } | undefined> {
  const [row] = await queryStore<{ tenant_id: string; generation: string }>(store, {
    name: 'read-tombstone',
    text: 'select tenant_id, generation from connections where id = $1 and app_id is null',
    values: [connectionId],
  });
  return row && { tenantId: row.tenant_id, generation: Number(row.generation) };
}

function idTaken(connectionId: string): TokenManagerError {
  return new TokenManagerError('connection_id_taken', { connectionId });
}

/** The same refresh token again, or none: only what no generation binds changes. */
async function keepCredentials(
  store: Queryable,
  stored: Stored,
  input: ConnectionInput,
  { tokenHost, dpopKey }: { tokenHost: string | null; dpopKey: SealedValue | null },
): Promise<ImportResult> {
  await queryStore(store, {
    name: 'update-connection-facts',
    text: `update connections set scope = coalesce($2, scope), variables = coalesce($3::jsonb, variables),
        metadata = coalesce($4::jsonb, metadata), token_host = $5,
        sealed_dpop_key = coalesce($6, sealed_dpop_key), dpop_key_id = coalesce($7, dpop_key_id),
        updated_at = now()
      where id = $1`,
    values: [
      stored.connection.id,
      input.scope ?? null,
      input.variables ?? null,
      input.metadata ?? null,
      tokenHost,
      dpopKey?.bytes ?? null,
      dpopKey?.dataKeyId ?? null,
    ],
  });
  const again = await readStored(store, stored.connection.id);
  return { connection: (again ?? stored).connection, created: false, credentials: 'kept' };
}

async function wasHeld(
  store: Queryable,
  connectionId: string,
  fingerprint: Buffer,
): Promise<boolean> {
  const rows = await queryStore(store, {
    name: 'was-refresh-token-held',
    text: `select connection_id from refresh_token_fingerprints
      where connection_id = $1 and fingerprint = $2`,
    values: [connectionId, fingerprint],
  });
  return rows.length === 1;
}

/** Imports of one refresh token follow each other, so that two connections cannot both take it. */
async function refuseSecondHolder(
  transaction: Queryable,
  connectionId: string,
  held: {
    appId: string;
    fingerprint: Buffer;
    /** The connection that may hold it; null where the id is another tenant's. */
    ownId: string | null;
  },
): Promise<void> {
  await queryStore(transaction, {
    name: 'lock-refresh-token',
    text: 'select pg_advisory_xact_lock($1::bigint)',
    values: [held.fingerprint.readBigInt64BE(0).toString()],
  });
  const rows = await queryStore(transaction, {
    name: 'find-second-holder',
    text: `select id from connections
      where app_id = $1 and refresh_fingerprint = $2 and id is distinct from $3
        and deleted_at is null limit 1`,
    values: [held.appId, held.fingerprint, held.ownId],
  });
  if (rows.length > 0) throw new TokenManagerError('credential_in_use', { connectionId });
}

/**
 * A body without a refresh token keeps the stored one. While that is being spent, or was and nobody
 * knows with what end, beginning a generation with it would send it twice (P1) and drop its answer (P5).
 */
async function refuseSpending(transaction: Queryable, connectionId: string): Promise<void> {
  await queryStore(transaction, {
    name: 'lock-connection',
    text: 'select id from connections where id = $1 for update',
    values: [connectionId],
  });
  // A statement of its own: its snapshot holds what the lock was waited for.
  const [intent] = await queryStore<{ open_seconds: number }>(transaction, {
    name: 'find-open-intent',
    text: `select extract(epoch from i.answer_by - clock_timestamp())::double precision as open_seconds
      from refresh_intents i
      join connections c on c.id = i.connection_id and c.generation = i.generation
      where c.id = $1`,
    values: [connectionId],
  });
  if (intent === undefined) return;
  const isOpen = intent.open_seconds > 0;
  throw new TokenManagerError(isOpen ? 'refresh_in_progress' : 'refresh_uncertain', {
    detail: 'The stored refresh token is in use; bring a new one, or try again.',
    connectionId,
  });
}

async function readClock(transaction: Queryable): Promise<Date> {
  const [row] = await queryStore<{ now: Date }>(transaction, {
    name: 'read-clock',
    text: 'select clock_timestamp() as now',
    values: [],
  });
  if (row === undefined) throw new Error('the database did not tell the time');
  return row.now;
}

function tokenMissing(): TokenManagerError {
  return new TokenManagerError('input_validation', {
    errors: [
      {
        pointer: '/refresh_token',
        detail: 'a new connection needs a refresh_token or access_token',
      },
    ],
  });
}
