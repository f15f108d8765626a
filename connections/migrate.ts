import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import { TokenManagerError } from '../client/contract.ts';
import { queryStore, type Queryable } from './store-query.ts';

const connectTimeoutMs = 5_000;
const lockTimeoutMs = 60_000;
const migrationsFolder = join(import.meta.dirname, 'migrations');
const migrationsTable = 'schema_migrations';

/**
 * Brings the schema up to date. Safe when several processes start at once: the others wait for the
 * first on an advisory lock and then find nothing to do. Throws `store_unavailable`.
 */
export async function migrate(options: {
  databaseUrl: string;
  /** Told one line for each migration that ran. */
  onMigration?: (name: string) => void;
}): Promise<void> {
  const client = new pg.Client({
    connectionString: options.databaseUrl,
    connectionTimeoutMillis: connectTimeoutMs,
    lock_timeout: lockTimeoutMs,
  });
  // A connection that breaks between two statements is told by the next of them; unheard, it would end the
  // process.
  client.on('error', () => undefined);
  try {
    await client.connect();
    const ran = await runner({
      dbClient: client,
      dir: migrationsFolder,
      migrationsTable,
      direction: 'up',
      advisoryLockMode: 'wait',
      singleTransaction: true,
      log: () => undefined,
    });
    for (const migration of ran) options.onMigration?.(migration.name);
  } catch (cause) {
    throw new TokenManagerError('store_unavailable', {
      detail: `The migrations could not run: ${cause instanceof Error ? cause.message : 'unknown error'}`,
      cause,
    });
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Names of the migrations that this build brings and the database has not run. One that the database
 * has and this build does not know is no fault: a newer build runs beside it.
 */
export async function listPendingMigrations(store: Queryable): Promise<string[]> {
  const [table] = await queryStore<{ oid: string | null }>(store, {
    name: 'find-migrations-table',
    text: 'select to_regclass($1) as oid',
    values: [migrationsTable],
  });
  const ran =
    table?.oid == null
      ? []
      : await queryStore<{ name: string }>(store, {
          name: 'list-migrations',
          text: `select name from ${migrationsTable}`,
          values: [],
        });
  const known = new Set(ran.map(({ name }) => name));
  return readdirSync(migrationsFolder)
    .map((file) => basename(file, '.sql'))
    .filter((name) => !known.has(name))
    .sort();
}
