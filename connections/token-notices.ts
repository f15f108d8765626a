/** The channel of PostgreSQL that token changes are told on; its payload is the connection's id. */
export const tokenNoticeChannel = 'token_changes';

/**
 * An SQL expression that tells every gateway, once the transaction commits, that the connection's token
 * is another: part of the statement that changes the row, so that there is no change without its
 * notice. It must stand in the outermost query, for PostgreSQL does not run a CTE that only selects and
 * that nobody reads. NOTIFY makes commits follow each other, so only token changes use it: no re-seal,
 * no verdict, no pause, and no new connection, which nobody can have cached.
 */
export function tellTokenChange(connectionId: string): string {
  return `pg_notify('${tokenNoticeChannel}', ${connectionId})`;
}

/** What a cache needs to know of token changes. */
export interface TokenNotices {
  /**
   * A number that is another each time LISTEN starts; undefined while there is none. A row that was
   * read in an earlier session, or in none, may have changed unheard.
   */
  session(): number | undefined;
  /** Calls `hear` with the id of each connection whose token has changed. Returns how to stop that. */
  subscribe(hear: (connectionId: string) => void): () => void;
}
