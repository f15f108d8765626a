import type { QueryResult, QueryResultRow } from 'pg';
import { TokenManagerError } from '../client/contract.ts';
import type { VisibleTenants } from './registry.ts';

/** A pool or one connection of it, as `pg` gives them. */
export interface Queryable {
  query<Row extends QueryResultRow>(statement: Statement): Promise<QueryResult<Row>>;
}

export interface Statement {
  /** Prepared under this name, once a database connection. */
  name: string;
  text: string;
  values: unknown[];
}

// 22 data exception, 23 integrity violation, 42 syntax or access rule: faults of ours, not of the store.
const faultClasses = new Set(['22', '23', '42']);
/** Somebody revoked a right: the store refuses writes, and may allow them again. */
const insufficientPrivilege = '42501';

/**
 * Runs one statement. Throws `store_unavailable` when the database is away, refuses writes, or does not
 * answer in time; faults of the statement itself are thrown as `pg` reports them.
 */
export async function queryStore<Row extends QueryResultRow>(
  store: Queryable,
  statement: Statement,
): Promise<Row[]> {
  try {
    const result = await store.query<Row>(statement);
    return result.rows;
  } catch (cause) {
    if (isStatementFault(cause)) throw cause;
    throw new TokenManagerError('store_unavailable', { cause, retryAfterSeconds: 1 });
  }
}

function isStatementFault(error: unknown): boolean {
  const sqlState = sqlStateOf(error);
  if (sqlState?.length !== 5 || sqlState === insufficientPrivilege) return false;
  return faultClasses.has(sqlState.slice(0, 2));
}

/** The five-character SQLSTATE of a PostgreSQL error, if it is one. */
export function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** For `$n::text[] is null or tenant_id = any($n)`, so that a statement has one text for all callers. */
export function tenantsParameter(visibleTo: VisibleTenants): string[] | null {
  return visibleTo === null ? null : [...visibleTo];
}

/** A pool that can also run several statements in one transaction. */
export interface TransactionalStore extends Queryable {
  connect(): Promise<StoreConnection>;
}

interface StoreConnection extends Queryable {
  release(error?: Error | boolean): void;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
}

/** Runs `work` in one transaction; throws what it throws, after rolling back. */
export async function inTransaction<Result>(
  store: TransactionalStore,
  work: (transaction: Queryable) => Promise<Result>,
): Promise<Result> {
  const connection = await store.connect().catch((cause: unknown) => {
    throw new TokenManagerError('store_unavailable', { cause, retryAfterSeconds: 1 });
  });
  const seen = { broken: false };
  const onBroken = (): void => {
    seen.broken = true;
  };
  // The pool listens to idle connections only; a broken one that nobody listens to ends the process.
  connection.on('error', onBroken);
  try {
    await queryStore(connection, { name: 'begin', text: 'begin', values: [] });
    const result = await work(connection);
    await queryStore(connection, { name: 'commit', text: 'commit', values: [] });
    return result;
  } catch (error) {
    // Without an answer the connection is beyond use; the pool opens another.
    await queryStore(connection, { name: 'rollback', text: 'rollback', values: [] }).catch(
      onBroken,
    );
    throw error;
  } finally {
    // A connection that is given back as broken may still tell so.
    if (!seen.broken) connection.off('error', onBroken);
    connection.release(seen.broken);
  }
}
