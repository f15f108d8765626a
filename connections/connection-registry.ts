import type { ConnectionStatus } from '../client/contract.ts';
import type { Clock, DatabaseClock } from '../platform/clock.ts';
import { listAttempts } from './attempts-log.ts';
import type { Connection } from './connection.ts';
import {
  connectionColumns,
  connectionFromRow,
  connectionTables,
  statusExpression,
  type ConnectionRow,
} from './connection-row.ts';
import { disconnectConnection, revoking } from './disconnect-connection.ts';
import { createConnectionImport } from './import-connection.ts';
import { pauseConnection, resumeConnection } from './pause-connection.ts';
import type { ProviderRules } from './app.ts';
import { pageOf, parseCursor } from './page-cursor.ts';
import type { AppRegistry, ConnectionRegistry, VisibleTenants } from './registry.ts';
import {
  queryStore,
  tenantsParameter,
  type Queryable,
  type TransactionalStore,
} from './store-query.ts';
import { createTokenReader } from './token-reader.ts';
import type { TokenVault } from './token-vault.ts';

export interface ConnectionRegistryDependencies {
  store: TransactionalStore;
  vault: TokenVault;
  apps: AppRegistry;
  providers: ProviderRules;
  clock: Clock;
  databaseClock: DatabaseClock;
  /** A random number in [0, 1). */
  random: () => number;
}

/** Connections as the gateway sees them; refresh tokens are sealed on the way in and never read. */
export function createConnectionRegistry(
  dependencies: ConnectionRegistryDependencies,
): ConnectionRegistry {
  const { store, providers } = dependencies;
  const importConnection = createConnectionImport(dependencies);

  return {
    readToken: createTokenReader(dependencies),

    get: (connectionId, visibleTo) => getConnection(store, connectionId, visibleTo),

    async list({ visibleTo, tenantId, appId, status, limit, cursor }) {
      const rows = await queryStore<ConnectionRow>(store, {
        name: 'list-connections',
        text: `select ${connectionColumns}
          from ${connectionTables}
          where c.id > $1
            and ($2::text is null or c.tenant_id = $2)
            and ($3::text is null or c.app_id = $3)
            and case when $4::text is null then c.deleted_at is null else ${statusExpression} = $4 end
            and ($6::text[] is null or c.tenant_id = any($6))
          order by c.id limit $5`,
        values: [
          parseCursor(cursor),
          tenantId ?? null,
          appId ?? null,
          status ?? null,
          limit + 1,
          tenantsParameter(visibleTo),
        ],
      });
      return pageOf(rows, limit, connectionFromRow);
    },

    attempts: (connectionId, page) => listAttempts(store, connectionId, page),

    put: importConnection,

    async pause(connectionId, visibleTo) {
      await pauseConnection(store, connectionId, visibleTo);
      return getLiving(store, connectionId, visibleTo);
    },

    async resume(connectionId, visibleTo) {
      await resumeConnection(store, connectionId, visibleTo);
      return getLiving(store, connectionId, visibleTo);
    },

    disconnect: (connectionId, visibleTo) =>
      disconnectConnection({ store, providers }, connectionId, visibleTo),
  };
}

/** Undefined: there is no such connection, its deletion is done, or its tenant is not visible. */
export async function getConnection(
  store: Queryable,
  connectionId: string,
  visibleTo: VisibleTenants,
): Promise<Connection | undefined> {
  const [row] = await queryStore<ConnectionRow>(store, {
    name: 'get-connection',
    text: `select ${connectionColumns}
      from ${connectionTables}
      where c.id = $1 and ($2::text[] is null or c.tenant_id = any($2))`,
    values: [connectionId, tenantsParameter(visibleTo)],
  });
  return row && connectionFromRow(row);
}

async function getLiving(
  store: Queryable,
  connectionId: string,
  visibleTo: VisibleTenants,
): Promise<Connection | undefined> {
  const connection = await getConnection(store, connectionId, visibleTo);
  if (connection === undefined || connection.deletedAt === null) return connection;
  throw revoking(connectionId);
}

/** Of all tenants, without tombstones; statuses without connections are absent. Reads every row. */
export async function countConnections(
  store: Queryable,
): Promise<Partial<Record<ConnectionStatus, number>>> {
  const rows = await queryStore<{ status: ConnectionStatus; count: string }>(store, {
    name: 'count-connections',
    text: `select ${statusExpression} as status, count(*) from connections c
      where c.app_id is not null group by 1`,
    values: [],
  });
  return Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)]));
}
