import {
  connectionColumns,
  connectionFromRow,
  connectionTables,
  type ConnectionRow,
} from './connection-row.ts';
import type { Connection } from './connection.ts';
import { queryStore, type Queryable } from './store-query.ts';
import type { SealedValue } from './token-vault.ts';

/** A connection with what an import must know beside its facts; the tokens are still sealed. */
export interface StoredConnection {
  connection: Connection;
  sealedAccessToken: Buffer | null;
  sealedRefreshToken: Buffer | null;
  sealedDpopKey: SealedValue | null;
  refreshFingerprint: Buffer | null;
}

/** What a deletion has left of a connection: it goes on counting. */
export interface Tombstone {
  tenantId: string;
  generation: number;
}

interface StoredRow extends ConnectionRow {
  sealed_access_token: Buffer | null;
  sealed_refresh_token: Buffer | null;
  sealed_dpop_key: Buffer | null;
  dpop_key_id: string | null;
  refresh_fingerprint: Buffer | null;
}

/** By id; those that are not there, or only as tombstones, are absent. */
export async function readStoredConnections(
  store: Queryable,
  connectionIds: string[],
): Promise<Map<string, StoredConnection>> {
  const rows = await queryStore<StoredRow>(store, {
    name: 'read-stored-connections',
    text: `select ${connectionColumns}, c.sealed_access_token, c.sealed_refresh_token, c.refresh_fingerprint,
        c.sealed_dpop_key, c.dpop_key_id
      from ${connectionTables} where c.id = any($1::text[])`,
    values: [connectionIds],
  });
  const stored = rows.map(storedFromRow);
  return new Map(stored.map((each) => [each.connection.id, each]));
}

/** By id; absent where there is a connection, or was none. */
export async function readTombstones(
  store: Queryable,
  connectionIds: string[],
): Promise<Map<string, Tombstone>> {
  const rows = await queryStore<{ id: string; tenant_id: string; generation: string }>(store, {
    name: 'read-tombstones',
    text: `select id, tenant_id, generation from connections
      where id = any($1::text[]) and app_id is null`,
    values: [connectionIds],
  });
  return new Map(
    rows.map((row) => [row.id, { tenantId: row.tenant_id, generation: Number(row.generation) }]),
  );
}

/** A refresh token by its fingerprint, and the connection that may have held it. */
export interface HeldToken {
  connectionId: string;
  fingerprint: Buffer;
}

/** The ids of those that hold it, or did. */
export async function findHolders(store: Queryable, held: HeldToken[]): Promise<Set<string>> {
  const rows = await queryStore<{ connection_id: string }>(store, {
    name: 'were-refresh-tokens-held',
    text: `select f.connection_id from refresh_token_fingerprints f
      join unnest($1::text[], $2::bytea[]) as h (connection_id, fingerprint)
        on f.connection_id = h.connection_id and f.fingerprint = h.fingerprint`,
    values: [
      held.map(({ connectionId }) => connectionId),
      held.map(({ fingerprint }) => fingerprint),
    ],
  });
  return new Set(rows.map(({ connection_id }) => connection_id));
}

function storedFromRow(row: StoredRow): StoredConnection {
  return {
    connection: connectionFromRow(row),
    sealedAccessToken: row.sealed_access_token,
    sealedRefreshToken: row.sealed_refresh_token,
    sealedDpopKey:
      row.sealed_dpop_key === null || row.dpop_key_id === null
        ? null
        : { bytes: row.sealed_dpop_key, dataKeyId: row.dpop_key_id },
    refreshFingerprint: row.refresh_fingerprint,
  };
}
