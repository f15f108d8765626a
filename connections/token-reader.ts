import { setImmediate as endOfTurn } from 'node:timers/promises';
import type { Clock, DatabaseClock } from '../platform/clock.ts';
import {
  connectionColumns,
  connectionFromRow,
  connectionTables,
  type ConnectionRow,
} from './connection-row.ts';
import type { TokenReading } from './registry.ts';
import { queryStore, type Queryable } from './store-query.ts';
import type { TokenVault } from './token-vault.ts';

/** Of one SELECT; with more the first would wait long for the last. */
const rowsMax = 100;

interface TokenRow extends ConnectionRow {
  sealed_access_token: Buffer | null;
}

const selectWhere = (which: string): string =>
  `select ${connectionColumns}, c.sealed_access_token
   from ${connectionTables}
   where ${which} and c.deleted_at is null`;

interface Gathering {
  ids: string[];
  found: Promise<Map<string, TokenReading>>;
}

/**
 * Reads rows with their access tokens. What is asked for in one turn of the event loop is one SELECT: a row
 * among others costs PostgreSQL and this process a fraction of what it costs alone. It begins after
 * the call, and who shares it shares its failure.
 */
export function createTokenReader(dependencies: {
  store: Queryable;
  vault: TokenVault;
  clock: Clock;
  databaseClock: DatabaseClock;
}): (connectionId: string) => Promise<TokenReading | undefined> {
  const { store, vault, clock, databaseClock } = dependencies;
  let gathering: Gathering | undefined;

  async function select(ids: string[]): Promise<Map<string, TokenReading>> {
    const startedAtMs = clock.monotonicMs();
    const [only] = ids;
    // PostgreSQL would plan a list anew each time it is short; who is alone pays for that with half of his wait.
    const statement =
      ids.length === 1
        ? { name: 'read-token', text: selectWhere('c.id = $1'), values: [only] }
        : { name: 'read-tokens', text: selectWhere('c.id = any($1::text[])'), values: [ids] };
    const rows = await queryStore<TokenRow>(store, statement);
    const readings = rows.map(readingFromRow);
    const [first] = readings;
    if (first !== undefined) databaseClock.observe(first.connection.readAt, startedAtMs);
    return new Map(readings.map((reading) => [reading.connection.id, reading]));
  }

  function readingFromRow(row: TokenRow): TokenReading {
    const connection = connectionFromRow(row);
    const { tenantId, id, generation } = connection;
    const sealed = row.sealed_access_token;
    return {
      connection,
      open() {
        if (sealed === null) throw new Error('the connection holds no access token');
        return vault.open('access-token', { tenantId, id, generation }, sealed);
      },
    };
  }

  function gather(): Gathering {
    const ids: string[] = [];
    const found = endOfTurn().then(() => {
      if (gathering?.ids === ids) gathering = undefined;
      return select(ids);
    });
    return { ids, found };
  }

  return async (connectionId) => {
    if (gathering === undefined || gathering.ids.length >= rowsMax) gathering = gather();
    const { ids, found } = gathering;
    ids.push(connectionId);
    return (await found).get(connectionId);
  };
}
