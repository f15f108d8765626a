import type { QueryResult, QueryResultRow } from 'pg';

/** What the server says of itself. */
export interface DatabaseFacts {
  /** As `server_version_num`: 180004. */
  version: number;
  versionText: string;
  fsync: string;
  fullPageWrites: string;
  synchronousCommit: string;
  isReadOnly: boolean;
  /** How far the clock of this machine is ahead of the server's, at least; negative: behind. */
  aheadMs: number;
}

interface FactsRow extends QueryResultRow {
  version: number;
  version_text: string;
  fsync: string;
  full_page_writes: string;
  synchronous_commit: string;
  is_read_only: boolean;
  now: Date;
}

/** Rejects as `pg` does when the server cannot be asked. */
export async function readDatabaseFacts(
  pool: { query<Row extends QueryResultRow>(text: string): Promise<QueryResult<Row>> },
  wallMs: () => number,
): Promise<DatabaseFacts> {
  // Connecting takes its time, which must not count as a difference between the clocks.
  await pool.query('select 1');
  const askedAtMs = wallMs();
  const { rows } = await pool.query<FactsRow>(
    `select current_setting('server_version_num')::int as version,
       current_setting('server_version') as version_text, current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit,
       current_setting('transaction_read_only') = 'on' as is_read_only, clock_timestamp() as now`,
  );
  const answeredAtMs = wallMs();
  const [row] = rows;
  if (row === undefined) throw new Error('the server answered no row');
  const serverMs = row.now.getTime();
  return {
    version: row.version,
    versionText: row.version_text,
    fsync: row.fsync,
    fullPageWrites: row.full_page_writes,
    synchronousCommit: row.synchronous_commit,
    isReadOnly: row.is_read_only,
    aheadMs: distanceMs(serverMs, askedAtMs, answeredAtMs),
  };
}

/** The server's instant lies somewhere between asking and answer if the clocks agree. */
function distanceMs(serverMs: number, askedAtMs: number, answeredAtMs: number): number {
  if (serverMs < askedAtMs) return askedAtMs - serverMs;
  return serverMs > answeredAtMs ? answeredAtMs - serverMs : 0;
}
