import { join } from 'node:path';
import { runner } from 'node-pg-migrate';
import { TokenManagerError } from '../client/contract.ts';

const lockTimeoutMs = 60_000;

/**
 * Brings the schema up to date. Safe when several processes start at once: the others wait for the
 * first on an advisory lock and then find nothing to do. Throws `store_unavailable`.
 */
export async function migrate(options: {
  databaseUrl: string;
  /** Told one line for each migration that ran. */
  onMigration?: (name: string) => void;
}): Promise<void> {
  try {
    const ran = await runner({
      databaseUrl: { connectionString: options.databaseUrl, lock_timeout: lockTimeoutMs },
      dir: join(import.meta.dirname, 'migrations'),
      migrationsTable: 'schema_migrations',
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
  }
}
