import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { TokenManagerError } from '../client/contract.ts';
import { listPendingMigrations, migrate } from '../connections/migrate.ts';
import type { DatabaseConfig } from '../platform/database-settings.ts';
import type { Logger } from '../platform/log.ts';
import { databaseReason, isDatabaseAway } from './database-away.ts';

const pauseMinMs = 500;
const pauseMaxMs = 10_000;
const connectLimitMs = 2_000;
const statementLimitMs = 5_000;

interface Preparation {
  database: DatabaseConfig;
  log: Pick<Logger, 'info' | 'warn'>;
  /** Only for npm start and the tests, whose tokens nobody misses. */
  allowVolatile: boolean;
  /** Ends the waiting. */
  signal: AbortSignal;
}

/**
 * Resolves once PostgreSQL answers, keeps what it commits, and has the schema of this build. While it
 * is away it is tried again, with a line that says so; what waiting does not heal is thrown: a wrong
 * password, a database that is not there, settings under which a crash forgets commits, a schema that
 * is missing while MIGRATE_ON_START=false. Rejects with the signal's reason when it is aborted.
 */
export async function prepareDatabase(preparation: Preparation): Promise<void> {
  const { database, log, signal } = preparation;
  for (let pauseMs = pauseMinMs; ; pauseMs = Math.min(2 * pauseMs, pauseMaxMs)) {
    try {
      await prepareOnce(preparation);
      return;
    } catch (error) {
      if (!isDatabaseAway(error)) throw unusable(database, error);
      log.warn(
        { reason: databaseReason(error), next_try_seconds: pauseMs / 1_000 },
        `waiting for PostgreSQL at ${describeTarget(database)}`,
      );
    }
    await sleep(pauseMs, undefined, { signal });
  }
}

/**
 * For a command, which waits for nothing and changes no schema: throws what to do where PostgreSQL is away or
 * lacks what this build needs.
 */
export async function requireDatabase(database: DatabaseConfig): Promise<void> {
  const target = describeTarget(database);
  const pending = await withClient(database, listPendingMigrations).catch((error: unknown) => {
    if (!isDatabaseAway(error)) throw unusable(database, error);
    throw new Error(
      `PostgreSQL at ${target} cannot be reached: ${databaseReason(error)}. See that it runs and that ` +
        'DATABASE_URL names it; `token-manager doctor` tells more.',
      { cause: error },
    );
  });
  if (pending.length === 0) return;
  throw new Error(
    `The schema of ${target} lacks ${pending.join(', ')}: run \`token-manager migrate\` with the same ` +
      'DATABASE_URL, then this again.',
  );
}

/** For a job that is run again by whoever runs it. Returns the names of the migrations that ran. */
export async function migrateOnce(database: DatabaseConfig): Promise<string[]> {
  const ran: string[] = [];
  try {
    await migrate({
      databaseUrl: database.url.reveal(),
      onMigration: (name) => ran.push(name),
    });
  } catch (error) {
    throw unusable(database, error);
  }
  return ran;
}

async function prepareOnce({ database, log, allowVolatile, signal }: Preparation): Promise<void> {
  signal.throwIfAborted();
  await checkDurability(database, allowVolatile);
  if (database.migrateOnStart) {
    for (const migration of await migrateOnce(database)) log.info({ migration }, 'migrated');
    return;
  }
  const pending = await withClient(database, listPendingMigrations);
  if (pending.length > 0) {
    throw new Error(
      `The schema of ${describeTarget(database)} lacks ${pending.join(', ')}, and MIGRATE_ON_START ` +
        'is false: run `token-manager migrate` with the same DATABASE_URL, then start again.',
    );
  }
}

/** A commit that a crash forgets is a lost grant: the refresh token before it is spent. */
async function checkDurability(database: DatabaseConfig, allowVolatile: boolean): Promise<void> {
  const settings = await withClient(database, async (client) => {
    const { rows } = await client.query<{ name: string; setting: string }>(
      `select name, setting from pg_settings where name in ('fsync', 'synchronous_commit')`,
    );
    return rows;
  });
  const off = settings.filter(({ setting }) => setting === 'off').map(({ name }) => name);
  if (off.length > 0 && !allowVolatile) {
    throw new Error(
      `PostgreSQL at ${describeTarget(database)} has ${off.join(' and ')} off: a crash would forget ` +
        'tokens whose predecessors are spent. Turn it on for this server, database and user.',
    );
  }
}

async function withClient<Result>(
  database: DatabaseConfig,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({
    connectionString: database.url.reveal(),
    connectionTimeoutMillis: connectLimitMs,
    query_timeout: statementLimitMs,
  });
  // A connection that breaks between two statements is told by the next of them.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

function unusable(database: DatabaseConfig, error: unknown): unknown {
  if (!(error instanceof pg.DatabaseError) && !(error instanceof TokenManagerError)) return error;
  const reason = databaseReason(error);
  return new Error(`PostgreSQL at ${describeTarget(database)} cannot be used: ${reason}.`, {
    cause: error,
  });
}

/** Host, port and database, without user and password. */
export function describeTarget({ url }: Pick<DatabaseConfig, 'url'>): string {
  const text = url.reveal();
  if (!URL.canParse(text)) return 'DATABASE_URL';
  const { host, pathname, searchParams } = new URL(text);
  const socket = searchParams.get('host');
  return `${host === '' && socket !== null ? socket : host}${pathname}`;
}
