import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareDatabase } from '../../cli/prepare-database.ts';
import { inTransaction, queryStore } from '../../connections/store-query.ts';
import { createLogger } from '../../platform/log.ts';
import { createPostgresPool } from '../../platform/postgres-pool.ts';
import { Secret } from '../../platform/secret.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startDyingPostgres, type DyingPostgres } from '../support/dying-postgres.ts';

/** More than there are answers until the schema is known to be up to date. */
const answersMax = 20;

let database: TestDatabase;
let postgres: DyingPostgres;
beforeAll(async () => {
  database = await createTestDatabase();
  postgres = await startDyingPostgres(database.url);
});
afterAll(async () => {
  await postgres.close();
  await database.drop();
});

describe('PostgreSQL that is killed between two statements', () => {
  it.each([
    ['migrating', true],
    ['only looking', false],
  ])('while a process starts, %s, is waited for', async (_what, migrateOnStart) => {
    const url = new Secret(postgres.url);
    const ends: string[] = [];
    for (let answers = 1; answers <= answersMax; answers += 1) {
      const waiting = new AbortController();
      postgres.dieAfterAnswer(answers);
      const prepared = prepareDatabase({
        database: { url, listenUrl: url, migrateOnStart },
        log: { info: () => undefined, warn: () => waiting.abort() },
        allowVolatile: true,
        signal: waiting.signal,
      });
      ends.push(
        await prepared.then(
          () => 'is prepared',
          (error: unknown) => (waiting.signal.aborted ? 'waits' : String(error)),
        ),
      );
    }
    expect(ends.slice(0, 4)).toContain('waits');
    expect(ends.filter((end) => end !== 'waits' && end !== 'is prepared')).toEqual([]);
    expect(ends.at(-1)).toBe('is prepared');
  });

  it('while a transaction gets its connection, is away, and back for the next', async () => {
    const pool = createPostgresPool({
      url: new Secret(postgres.url),
      applicationName: 'test',
      log: createLogger({ level: 'silent', pretty: false, subsystem: 'test' }),
      isPrepared: () => true,
    });
    const one = async () => {
      const statement = { name: '', text: 'select 1', values: [] };
      return (await inTransaction(pool, (transaction) => queryStore(transaction, statement)))
        .length;
    };
    // Behind the answer to the start of the session, to begin, and to the statement.
    for (const answers of [1, 2, 3]) {
      postgres.dieAfterAnswer(answers);
      await expect(one()).rejects.toMatchObject({ code: 'store_unavailable' });
      expect(await one()).toBe(1);
      await endIdle(pool);
    }
    postgres.dieAfterAnswer(4);
    expect(await one()).toBe(1);
    expect(await one()).toBe(1);
    await pool.end();
  });
});

/** So that the next transaction begins with a connection of its own. */
async function endIdle(pool: pg.Pool): Promise<void> {
  const connection = await pool.connect();
  connection.release(true);
}
