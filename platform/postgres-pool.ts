import pg from 'pg';
import type { Logger } from './log.ts';
import type { Secret } from './secret.ts';

const connectionsMax = 20;
const connectTimeoutMs = 2_000;
const statementTimeoutMs = 5_000;
/** A little longer, so that it is PostgreSQL that ends a slow statement while it answers at all. */
const queryTimeoutMs = 6_000;
const idleTimeoutMs = 30_000;

/** The pool of a process. Every wait has a limit, so that a stuck database is an error, not a hang. */
export function createPostgresPool(options: {
  url: Secret;
  applicationName: string;
  log: Logger;
  /** Until it answers true, queries fail as if PostgreSQL were away: the schema is not known to be there. */
  isPrepared: () => boolean;
}): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.url.reveal(),
    application_name: options.applicationName,
    max: connectionsMax,
    connectionTimeoutMillis: connectTimeoutMs,
    statement_timeout: statementTimeoutMs,
    query_timeout: queryTimeoutMs,
    idleTimeoutMillis: idleTimeoutMs,
    keepAlive: true,
    verify: (_client, done) =>
      done(options.isPrepared() ? undefined : new Error('the database is not prepared yet')),
  });
  // Between the pool's hands and the borrower's nobody listens to a connection: broken just then, it would
  // end the process. Whoever has it is told by the next statement.
  pool.on('connect', (client) => client.on('error', () => undefined));
  // An idle connection that breaks belongs to nobody; the next query opens another.
  pool.on('error', (error) => {
    options.log.warn({ err: error }, 'an idle connection to PostgreSQL broke');
  });
  return pool;
}
