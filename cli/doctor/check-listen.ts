import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { DatabaseConfig } from '../../platform/database-settings.ts';
import { databaseReason } from '../database-away.ts';
import { describeTarget } from '../prepare-database.ts';
import { reporterOf, type Finding } from './finding.ts';

const connectLimitMs = 2_000;
const hearLimitMs = 3_000;
/** Not the channel of the gateways, which would take the probe for a token change. */
const channel = 'token_manager_doctor';

const report = reporterOf('listen');

/**
 * Whether a notice sent by DATABASE_URL is heard by DATABASE_LISTEN_URL. A transaction pooler takes
 * LISTEN and delivers nothing: only trying tells.
 */
export async function checkListen(
  pool: pg.Pool,
  database: DatabaseConfig,
  tokenCacheSeconds: number,
): Promise<Finding[]> {
  if (tokenCacheSeconds === 0) {
    return [report.ok('not needed: TOKEN_CACHE_SECONDS is 0, every read asks PostgreSQL')];
  }
  try {
    await pool.query('select 1');
  } catch {
    return [report.warning('not checked: the database cannot be reached', 'see database')];
  }
  const target = describeTarget({ url: database.listenUrl });
  const client = new pg.Client({
    connectionString: database.listenUrl.reveal(),
    connectionTimeoutMillis: connectLimitMs,
    query_timeout: hearLimitMs,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return [judgeHearing(await isHeard(client, pool), target)];
  } catch (error) {
    return [
      report.fault(
        `no connection for LISTEN at ${target}: ${databaseReason(error)}`,
        'correct DATABASE_LISTEN_URL, or unset it where DATABASE_URL is a session connection',
      ),
    ];
  } finally {
    await client.end().catch(() => undefined);
  }
}

export function judgeHearing(isHeard: boolean, target: string): Finding {
  return isHeard
    ? report.ok(`LISTEN at ${target} hears what DATABASE_URL notifies`)
    : report.fault(
        `LISTEN at ${target} is taken and hears nothing: gateways would trail each other by ` +
          'TOKEN_CACHE_SECONDS. It is a transaction pooler, or another database',
        'set DATABASE_LISTEN_URL to a session connection to the same database',
      );
}

async function isHeard(client: pg.Client, pool: pg.Pool): Promise<boolean> {
  const probe = randomUUID();
  let timer: NodeJS.Timeout | undefined;
  const heard = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), hearLimitMs);
    client.on('notification', ({ payload }) => {
      if (payload === probe) resolve(true);
    });
  });
  try {
    await client.query(`listen ${channel}`);
    await pool.query('select pg_notify($1, $2)', [channel, probe]);
    return await heard;
  } finally {
    clearTimeout(timer);
  }
}
