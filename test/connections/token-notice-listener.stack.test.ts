import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  listenForTokenNotices,
  type TokenNoticeListener,
} from '../../connections/token-notice-listener.ts';
import { tellTokenChange, tokenNoticeChannel } from '../../connections/token-notices.ts';
import { Secret } from '../../platform/secret.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startFreezableProxy } from '../support/freezable-proxy.ts';

const applicationName = 'listener-under-test';

let database: TestDatabase;
const closers: (() => Promise<void>)[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(async () => {
  await database.drop();
});

function startListener(url = database.url) {
  const lines: string[] = [];
  const note = (first: object | string, message?: string) => {
    lines.push(typeof first === 'string' ? first : (message ?? ''));
  };
  const listener = listenForTokenNotices({
    url: new Secret(url),
    applicationName,
    log: { info: note, warn: note },
    random: () => 0,
  });
  closers.push(() => listener.close());
  const heard: string[] = [];
  listener.subscribe((id) => heard.push(id));
  return { listener, heard, lines };
}

async function waitUntilListening(listener: TokenNoticeListener): Promise<number> {
  await expect.poll(() => listener.session(), { timeout: 10_000 }).toBeDefined();
  return listener.session() ?? 0;
}

async function tell(id: string): Promise<void> {
  await database.pool.query(`select ${tellTokenChange('$1')}`, [id]);
}

async function killListeners(): Promise<void> {
  await database.pool.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1',
    [applicationName],
  );
}

describe('the listener', () => {
  it('hears every connection told of, in order, until it is told no more', async () => {
    const { listener, heard, lines } = startListener();
    const session = await waitUntilListening(listener);
    const twice: string[] = [];
    const unsubscribe = listener.subscribe((id) => twice.push(id));
    await tell('c1');
    await tell('c2');
    await expect.poll(() => heard).toEqual(['c1', 'c2']);
    expect(twice).toEqual(['c1', 'c2']);
    unsubscribe();
    await tell('c3');
    await expect.poll(() => heard).toEqual(['c1', 'c2', 'c3']);
    expect(twice).toHaveLength(2);
    expect(listener.session()).toBe(session);
    expect(lines).toEqual([]);
  });

  it('hears nothing of what is rolled back', async () => {
    const { listener, heard } = startListener();
    await waitUntilListening(listener);
    const client = await database.pool.connect();
    await client.query('begin');
    await client.query(`select ${tellTokenChange("'rolled-back'")}`);
    await client.query('rollback');
    client.release();
    await tell('after');
    await expect.poll(() => heard).toEqual(['after']);
  });

  it('is in no session once its connection is ended, and in another when it is back; both are logged once', async () => {
    const { listener, heard, lines } = startListener();
    const session = await waitUntilListening(listener);
    await killListeners();
    await expect.poll(() => listener.session(), { interval: 1 }).toBeUndefined();
    expect(await waitUntilListening(listener)).toBeGreaterThan(session);
    await tell('c1');
    await expect.poll(() => heard).toEqual(['c1']);
    expect(lines).toEqual([
      'token changes are not heard: LISTEN is down',
      'token changes are heard again: LISTEN is back',
    ]);
  });

  it('notices within 5 s a connection that is dead without a word, and logs once however often it tries', async () => {
    const proxy = await startFreezableProxy(database.url);
    closers.push(() => proxy.close());
    const { listener, heard, lines } = startListener(proxy.url);
    await waitUntilListening(listener);
    proxy.freeze();
    const frozenAtMs = performance.now();
    await expect.poll(() => listener.session(), { timeout: 10_000 }).toBeUndefined();
    expect(performance.now() - frozenAtMs).toBeLessThan(5_000);
    // Long enough for more than one attempt that ends at its time limit.
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    expect(lines).toEqual(['token changes are not heard: LISTEN is down']);
    proxy.thaw();
    await waitUntilListening(listener);
    await tell('c1');
    await expect.poll(() => heard).toEqual(['c1']);
    expect(lines).toHaveLength(2);
  }, 30_000);

  it('starts while PostgreSQL is away, and closes while it tries', async () => {
    const { listener, lines } = startListener('postgres://nobody@127.0.0.1:1/none');
    await expect.poll(() => lines).toHaveLength(1);
    expect(listener.session()).toBeUndefined();
    await listener.close();
  });

  it.each(['at once', 'while it listens', 'before it tries again'])('closes %s', async (when) => {
    const { listener, lines } = startListener();
    if (when !== 'at once') await waitUntilListening(listener);
    if (when === 'before it tries again') {
      await killListeners();
      await expect.poll(() => lines, { interval: 1 }).toHaveLength(1);
    }
    await listener.close();
    expect(listener.session()).toBeUndefined();
    const { rows } = await database.pool.query<{ count: string }>(
      'select count(*) from pg_stat_activity where application_name = $1',
      [applicationName],
    );
    expect(Number(rows[0]?.count)).toBe(0);
  });

  it('listens on the channel that the statements tell', () => {
    expect(tellTokenChange('id')).toBe(`pg_notify('${tokenNoticeChannel}', id)`);
  });
});
