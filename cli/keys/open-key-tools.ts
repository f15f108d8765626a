import { Client } from '@temporalio/client';
import pg from 'pg';
import { listPendingMigrations } from '../../connections/migrate.ts';
import { loadConfig, type Config } from '../../platform/config.ts';
import { createLazyTemporalConnection } from '../../platform/temporal-connections.ts';
import { createDataKeyStore, type DataKeyStore } from '../../vault/data-key-store.ts';
import type { KeyProviders } from '../../vault/key-provider.ts';
import { databaseReason } from '../database-away.ts';
import { loadKeyProviders } from '../load-key-providers.ts';
import { describeTarget } from '../prepare-database.ts';

const connectLimitMs = 5_000;
/** Counting the uses of data keys reads whole indexes. */
const statementLimitMs = 600_000;

/** What the commands of `token-manager keys` work with. */
export interface KeyTools {
  config: Config;
  pool: pg.Pool;
  dataKeys: DataKeyStore;
  /** Throws `key_service_unavailable` that says what to do. */
  keyProviders: () => Promise<KeyProviders>;
  /** Connects when it is used. */
  temporal: Client;
}

/**
 * Runs `work` with the settings of a service process, on a database of this build's schema. Throws one
 * sentence that says what to do.
 */
export async function withKeyTools<Result>(
  configFile: string | undefined,
  work: (tools: KeyTools) => Promise<Result>,
): Promise<Result> {
  const config = loadConfig(configFile === undefined ? {} : { configFile });
  const pool = new pg.Pool({
    connectionString: config.database.url.reveal(),
    application_name: `${config.subsystemName} keys`,
    max: 2,
    connectionTimeoutMillis: connectLimitMs,
    statement_timeout: statementLimitMs,
  });
  // Whatever is asked of it next tells.
  pool.on('error', () => undefined);
  const connection = createLazyTemporalConnection(config.temporal);
  try {
    await checkSchema(pool, config);
    return await work({
      config,
      pool,
      dataKeys: createDataKeyStore(pool),
      keyProviders: () => loadKeyProviders(config.keys),
      temporal: new Client({ connection, namespace: config.temporal.namespace }),
    });
  } finally {
    await Promise.allSettled([connection.close(), pool.end()]);
  }
}

async function checkSchema(pool: pg.Pool, { database }: Config): Promise<void> {
  const pending = await listPendingMigrations(pool).catch((error: unknown) => {
    throw new Error(
      `PostgreSQL at ${describeTarget(database)} cannot be used: ${databaseReason(error)}.`,
    );
  });
  if (pending.length === 0) return;
  throw new Error(
    `The schema of ${describeTarget(database)} lacks ${pending.join(', ')}: run \`token-manager migrate\` first.`,
  );
}
