import type pg from 'pg';
import { listPendingMigrations } from '../../connections/migrate.ts';
import type { DatabaseConfig } from '../../platform/database-settings.ts';
import { databaseReason, isDatabaseAway } from '../database-away.ts';
import { describeTarget } from '../prepare-database.ts';
import { readDatabaseFacts, type DatabaseFacts } from './database-facts.ts';
import { reporterOf, type Finding } from './finding.ts';

const oldestVersion = 14;
const versionUnit = 10_000;
/** From here on client assertions are refused and certificates are judged wrongly. */
const clockFaultMs = 30_000;
const clockWarningMs = 2_000;

const report = reporterOf('database');

/** Whether PostgreSQL can be reached and used, keeps what it commits, and has the schema. */
export async function checkDatabase(
  pool: pg.Pool,
  database: DatabaseConfig,
  wallMs: () => number,
): Promise<Finding[]> {
  const target = describeTarget(database);
  let facts: DatabaseFacts;
  try {
    facts = await readDatabaseFacts(pool, wallMs);
  } catch (error) {
    return [judgeFailure(target, error)];
  }
  return [
    judgeVersion(target, facts),
    ...judgeDurability(facts),
    ...(facts.isReadOnly ? [readOnly] : []),
    judgeClock(facts),
    await checkSchema(pool, database.migrateOnStart),
  ];
}

export function judgeFailure(target: string, error: unknown): Finding {
  const reason = databaseReason(error);
  return isDatabaseAway(error)
    ? report.fault(
        `PostgreSQL at ${target} cannot be reached: ${reason}`,
        'start it, open the way to it, or correct DATABASE_URL (or PG*)',
      )
    : report.fault(
        `PostgreSQL at ${target} refuses this client: ${reason}`,
        'correct user, password, database or sslmode in DATABASE_URL (or PG*)',
      );
}

export function judgeVersion(target: string, facts: DatabaseFacts): Finding {
  const major = Math.floor(facts.version / versionUnit);
  const what = `PostgreSQL ${facts.versionText} at ${target}`;
  return major >= oldestVersion
    ? report.ok(`${what} answers`)
    : report.fault(`${what} is too old`, `upgrade it to ${oldestVersion} or newer`);
}

export function judgeDurability(facts: DatabaseFacts): Finding[] {
  const { fsync, synchronousCommit, fullPageWrites } = facts;
  const off = Object.entries({ fsync, synchronous_commit: synchronousCommit })
    .filter(([, value]) => value === 'off')
    .map(([name]) => name);
  if (off.length > 0) {
    return [
      report.fault(
        `${off.join(' and ')} ${off.length === 1 ? 'is' : 'are'} off: a crash would forget tokens ` +
          'whose predecessors are spent, so gateway and worker refuse to start',
        'turn it on for this server, database and user, and look for ALTER ROLE … SET too',
      ),
    ];
  }
  if (fullPageWrites === 'off') {
    const remedy = 'turn it on unless the file system writes whole pages for sure';
    return [report.warning('full_page_writes is off: a crash may tear pages', remedy)];
  }
  return [report.ok(`commits are kept: fsync on, synchronous_commit ${synchronousCommit}`)];
}

const readOnly = report.fault(
  'the server is read-only: a standby, or default_transaction_read_only is on',
  'point DATABASE_URL at the primary, or turn that setting off',
);

export function judgeClock({ aheadMs }: Pick<DatabaseFacts, 'aheadMs'>): Finding {
  const seconds = (Math.abs(aheadMs) / 1_000).toFixed(1);
  if (Math.abs(aheadMs) < clockWarningMs) {
    return report.ok('the clocks of this machine and of PostgreSQL agree');
  }
  const message =
    `the clock of this machine is ${seconds} s ${aheadMs > 0 ? 'ahead of' : 'behind'} ` +
    "PostgreSQL's, which alone decides what has expired; certificates, client assertions and logs " +
    'go by this one';
  const remedy = 'let NTP or chrony set the clocks of both machines';
  return Math.abs(aheadMs) < clockFaultMs
    ? report.warning(message, remedy)
    : report.fault(message, remedy);
}

async function checkSchema(pool: pg.Pool, migrateOnStart: boolean): Promise<Finding> {
  try {
    return judgeSchema(await listPendingMigrations(pool), migrateOnStart);
  } catch (error) {
    return report.fault(
      `the migrations cannot be read: ${databaseReason(error)}`,
      'grant the user of DATABASE_URL its schema and tables',
    );
  }
}

export function judgeSchema(pending: string[], migrateOnStart: boolean): Finding {
  if (pending.length === 0) return report.ok('the schema is up to date');
  const message = `the schema lacks ${pending.join(', ')}`;
  return migrateOnStart
    ? report.warning(message, 'nothing, if a process starts next: MIGRATE_ON_START is true')
    : report.fault(
        `${message}, and MIGRATE_ON_START is false: no process starts`,
        'run `token-manager migrate` with the same DATABASE_URL',
      );
}
