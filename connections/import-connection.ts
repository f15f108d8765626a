import { TokenManagerError } from '../client/contract.ts';
import type { Secret } from '../platform/secret.ts';
import type { ConnectionRegistryDependencies } from './connection-registry.ts';
import { revoking } from './disconnect-connection.ts';
import { isExclusive, lockExclusiveTokens } from './exclusive-tokens.ts';
import {
  bringsTokens,
  draftRow,
  examineImport,
  loadImportApp,
  requireApp,
  requireCredentials,
  type ExaminedImport,
  type ImportApp,
} from './imported-row.ts';
import { readClock } from './read-clock.ts';
import type { ConnectionInput, ImportResult } from './registry.ts';
import { inTransaction, queryStore, type Queryable } from './store-query.ts';
import {
  findHolders,
  readStoredConnections,
  readTombstones,
  type StoredConnection,
} from './stored-connections.ts';
import { insertConnections, replaceCredentials, updateConnectionFacts } from './write-imported.ts';

const conflictRetriesMax = 5;

type Import = (connectionId: string, input: ConnectionInput) => Promise<ImportResult>;

/**
 * `PUT /v1/connections/{id}`: new credentials win over any refresh in flight, because they raise the
 * generation that its writes are conditional on. Idempotent by the refresh token's fingerprint.
 */
export function createConnectionImport(dependencies: ConnectionRegistryDependencies): Import {
  const { store, vault, apps, providers, random } = dependencies;

  return async (connectionId, input) => {
    const app = requireApp(await loadImportApp({ apps, providers }, input.appId), input.tenantId);
    for (let round = 0; round < conflictRetriesMax; round += 1) {
      const result = await importOnce(connectionId, input, app);
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
    app: ImportApp,
  ): Promise<ImportResult | undefined> {
    const found = await readStored(store, connectionId);
    const tombstone =
      found === undefined
        ? (await readTombstones(store, [connectionId])).get(connectionId)
        : undefined;
    // Another tenant's connection is not there for whoever imports, up to the very insert: the answer
    // tells of it only where an unknown id would have become a connection.
    const holder = found?.connection.tenantId ?? tombstone?.tenantId ?? input.tenantId;
    const isForeign = holder !== input.tenantId;
    const stored = isForeign ? undefined : found;
    if (stored !== undefined && stored.connection.appId !== input.appId)
      throw idTaken(connectionId);
    if (stored !== undefined && stored.connection.deletedAt !== null) throw revoking(connectionId);
    const sealer = await vault.sealer();
    const subject = { connectionId, input, app, stored };
    const examined = examineImport(subject, { sealer, providers });
    const fingerprint =
      input.refreshToken === undefined ? null : sealer.fingerprint(input.refreshToken);
    if (stored !== undefined && fingerprint !== null) {
      if (stored.refreshFingerprint?.equals(fingerprint) === true) {
        return keepCredentials(store, { stored, input, examined });
      }
      if ((await findHolders(store, [{ connectionId, fingerprint }])).size > 0) {
        return { connection: stored.connection, created: false, credentials: 'kept_newer' };
      }
    }
    if (stored === undefined) requireCredentials(input, app.facts.credential);
    else if (!bringsTokens(input)) return keepCredentials(store, { stored, input, examined });

    const buried = isForeign ? undefined : tombstone;
    const generation = (stored?.connection.generation ?? buried?.generation ?? 0) + 1;
    const tokens = await allTokens(input, stored);
    const rowAt = draftRow(
      { ...subject, examined, fingerprint, tokens, generation },
      { sealer, providers, random },
    );

    return inTransaction(store, async (transaction) => {
      if (fingerprint !== null && isExclusive(app.facts.rotationClass)) {
        const ownId = isForeign ? null : connectionId;
        const token = { appId: input.appId, fingerprint, ownId };
        const [isHeld] = await lockExclusiveTokens(transaction, [token]);
        if (isHeld === true) throw new TokenManagerError('credential_in_use', { connectionId });
      }
      if (tokens.refresh !== null && input.refreshToken === undefined) {
        await refuseSpending(transaction, connectionId);
      }
      const row = rowAt(await readClock(transaction));
      if (isForeign) throw idTaken(connectionId);
      const isNew = stored === undefined && buried === undefined;
      const isWritten = isNew
        ? (await insertConnections(transaction, [row])).has(connectionId)
        : await replaceCredentials(transaction, row);
      if (!isWritten) return undefined;
      const written = await readStored(transaction, connectionId);
      return (
        written && {
          connection: written.connection,
          created: stored === undefined,
          credentials: 'stored',
        }
      );
    });
  }

  /** Both tokens are sealed anew, so one that the body omits is opened from the row. */
  async function allTokens(
    input: ConnectionInput,
    kept: StoredConnection | undefined,
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

async function readStored(
  store: Queryable,
  connectionId: string,
): Promise<StoredConnection | undefined> {
  return (await readStoredConnections(store, [connectionId])).get(connectionId);
}

function idTaken(connectionId: string): TokenManagerError {
  return new TokenManagerError('connection_id_taken', { connectionId });
}

/** The same refresh token again, or none: only what no generation binds changes. */
async function keepCredentials(
  store: Queryable,
  kept: { stored: StoredConnection; input: ConnectionInput; examined: ExaminedImport },
): Promise<ImportResult | undefined> {
  const { id } = kept.stored.connection;
  if (!(await updateConnectionFacts(store, [kept])).has(id)) return undefined;
  const { connection } = (await readStored(store, id)) ?? kept.stored;
  return { connection, created: false, credentials: 'kept' };
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
