import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createExchangeStore } from '../../connections/exchange-store.ts';
import { inTransaction, queryStore } from '../../connections/store-query.ts';
import {
  claimRequest,
  createStoreFixture,
  record,
  settlement,
  verdict,
  type StoreFixture,
} from './store-fixture.ts';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await createStoreFixture();
});
afterAll(() => fixture.database.drop());

const away = { code: 'store_unavailable', retryAfterSeconds: 1 };

function statement(text: string, values: unknown[] = []) {
  return { name: '', text, values };
}

function poolOf(options: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({ max: 2, ...options });
  pool.on('error', () => undefined);
  return pool;
}

describe('a statement', () => {
  it('on a database that is away throws store_unavailable', async () => {
    const dead = poolOf({ host: '127.0.0.1', port: 1 });
    await expect(queryStore(dead, statement('select 1'))).rejects.toMatchObject(away);
    await expect(inTransaction(dead, () => Promise.resolve(1))).rejects.toMatchObject(away);
  });

  it('on a database that does not answer throws store_unavailable in time', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const pool = poolOf({ host: '127.0.0.1', port, connectionTimeoutMillis: 200 });
    await expect(queryStore(pool, statement('select 1'))).rejects.toMatchObject(away);
    silent.close();
  });

  it('whose connection is ended under it throws store_unavailable', async () => {
    const pool = poolOf({ connectionString: fixture.database.url, max: 1 });
    const slow = queryStore(pool, statement('select pg_sleep(20)'));
    const ended = expect(slow).rejects.toMatchObject(away);
    await expect
      .poll(async () => {
        const { rows } = await fixture.pool.query<{ ended: boolean }>(
          `select pg_terminate_backend(pid) as ended from pg_stat_activity
           where datname = current_database() and query like 'select pg_sleep%'`,
        );
        return rows.length;
      })
      .toBe(1);
    await ended;
    expect(await queryStore(pool, statement('select 1 as one'))).toEqual([{ one: 1 }]);
    await pool.end();
  });

  it('that is slower than its limit throws store_unavailable', async () => {
    const pool = poolOf({ connectionString: fixture.database.url, statement_timeout: 50 });
    await expect(queryStore(pool, statement('select pg_sleep(5)'))).rejects.toMatchObject(away);
    await pool.end();
  });

  it.each([
    ['a syntax fault', 'selec 1', '42601'],
    ['a bad value', `select 'x'::integer`, '22P02'],
    ['a broken constraint', `insert into connections (id) values ('x')`, '23502'],
  ])('with %s is thrown as it is: a fault of ours', async (_name, text, code) => {
    await expect(queryStore(fixture.pool, statement(text))).rejects.toMatchObject({ code });
  });
});

describe('a database that refuses writes', () => {
  let readOnly: pg.Pool;
  beforeAll(() => {
    readOnly = poolOf({
      connectionString: fixture.database.url,
      options: '-c default_transaction_read_only=on',
    });
  });
  afterAll(() => readOnly.end());

  it('answers reads, and every write of the exchange throws store_unavailable', async () => {
    const id = await fixture.addConnection();
    const exchanges = createExchangeStore(readOnly);
    expect(await exchanges.load(id)).toMatchObject({ connection: { id } });
    const claim = {
      connectionId: id,
      generation: 1,
      attempt: 0,
      claimId: claimRequest(id).claimId,
    };
    const tokens = await fixture.seal(id, 1, {});
    const sealedResult = await fixture.sealResult(id, 1);
    const end = settlement(claim);
    const writes = [
      () => exchanges.claim(claimRequest(id)),
      () => exchanges.commit(claim, tokens, record, sealedResult),
      () => exchanges.commitLate({ ...claim, lateAttempt: 1 }, tokens, record),
      () => exchanges.settle(end),
      () => exchanges.settle(verdict(claim)),
      () => exchanges.postpone({ ...end, attempt: 0 }),
      () => exchanges.markUncertain(claim, null, 'read'),
    ];
    for (const write of writes) await expect(write()).rejects.toMatchObject(away);
  });

  it('as a lost right to write throws store_unavailable', async () => {
    await fixture.pool.query('create role reader');
    const transaction = await fixture.begin();
    await transaction.query('grant select on connections to reader');
    await transaction.query('set local role reader');
    const fence = { connectionId: 'c', generation: 1, attempt: 1 };
    await expect(transaction.exchanges.markUncertain(fence, null, 'read')).rejects.toMatchObject(
      away,
    );
    await transaction.commit();
    await fixture.pool.query('drop owned by reader; drop role reader');
  });
});

describe('a transaction', () => {
  const pausedOf = async (id: string) => (await fixture.row(id))['paused_at'];

  it('that throws leaves nothing behind', async () => {
    const id = await fixture.addConnection();
    const failing = inTransaction(fixture.pool, async (transaction) => {
      await queryStore(
        transaction,
        statement('update connections set paused_at = now() where id = $1', [id]),
      );
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await pausedOf(id)).toBeNull();
  });

  it('whose connection breaks gives it back to the pool as broken', async () => {
    const pool = poolOf({ connectionString: fixture.database.url, max: 1 });
    const failing = inTransaction(pool, (transaction) =>
      queryStore(transaction, statement('select pg_terminate_backend(pg_backend_pid())')),
    );
    await expect(failing).rejects.toMatchObject(away);
    expect(await queryStore(pool, statement('select 1 as one'))).toEqual([{ one: 1 }]);
    await pool.end();
  });
});
