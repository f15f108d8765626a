import { describe, expect, it, vi } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import type { Connection } from '../../connections/connection.ts';
import {
  call,
  connectionRow,
  createFakeGateway,
  expired,
  refreshRow,
  secondsFromStart,
  settle,
  startsAt,
} from './gateway-fakes.ts';

const tokenPath = '/v1/connections/c1/token';
const storeAway = new TokenManagerError('store_unavailable');
const refreshPath = '/v1/connections/c1/token/refresh';

/** A gateway with a cache and a LISTEN that the test drives, and clocks that stand still until told. */
function createCachingGateway(row: Connection = connectionRow()) {
  let nowMs = 0;
  let session: number | undefined = 1;
  const hearers = new Set<(id: string) => void>();
  const gateway = createFakeGateway({
    row,
    tokenCache: {
      seconds: 5,
      notices: {
        session: () => session,
        subscribe(hear) {
          hearers.add(hear);
          return () => hearers.delete(hear);
        },
      },
    },
    clock: { monotonicMs: () => nowMs, wallMs: () => 0 },
    databaseClock: {
      observe: () => undefined,
      now: () => new Date(startsAt.getTime() + nowMs),
    },
  });
  return {
    ...gateway,
    passSeconds: (seconds: number): void => {
      nowMs += seconds * 1_000;
    },
    notify: (id: string): void => {
      for (const hear of hearers) hear(id);
    },
    loseListen: (): void => {
      session = undefined;
    },
    get: (query = '') => call(gateway.app, 'GET', `${tokenPath}${query}`),
    countReads: async (source: string): Promise<number> => {
      const { body } = await gateway.metrics.page();
      const line = new RegExp(`token_reads_total\\{.*source="${source}".*\\} (\\d+)`).exec(body);
      return Number(line?.[1] ?? 0);
    },
  };
}

describe('a GET that the cache satisfies', () => {
  it('answers as from the row, with no SELECT, and counts as source=cache', async () => {
    const { get, state, passSeconds, countReads } = createCachingGateway();
    const first = await get();
    passSeconds(3);
    const second = await get();
    expect(second.json).toEqual({ ...first.json, expires_in: 1_797 });
    expect(second.headers.get('Cache-Control')).toBe('no-store');
    expect(state.reads).toBe(1);
    expect([await countReads('store'), await countReads('cache')]).toEqual([1, 1]);
  });

  it('asks for the background refresh of a token inside its margin', async () => {
    const { get, engine, state, passSeconds } = createCachingGateway(
      connectionRow({ refreshDueAt: secondsFromStart(2) }),
    );
    await get();
    expect(engine.calls).toHaveLength(0);
    passSeconds(3);
    expect((await get()).json).toMatchObject({ token_version: 7, refreshed: false });
    expect(state.reads).toBe(1);
    expect(engine.calls).toMatchObject([{ newerThan: 7, trigger: 'background' }]);
  });

  it('reads the row again after TOKEN_CACHE_SECONDS, after a notice and without LISTEN', async () => {
    const { get, state, passSeconds, notify, loseListen } = createCachingGateway();
    await get();
    passSeconds(5);
    await get();
    expect(state.reads).toBe(2);
    notify('c1');
    await get();
    expect(state.reads).toBe(3);
    loseListen();
    await get();
    expect(state.reads).toBe(4);
  });

  it('is answered to HEAD too, which is not counted', async () => {
    const { app, get, state, countReads } = createCachingGateway();
    await get();
    const { status } = await call(app, 'HEAD', tokenPath);
    expect([status, state.reads, await countReads('cache')]).toEqual([200, 1, 0]);
  });
});

describe('a demand that the cache does not satisfy', () => {
  it('min_token_version: the row is read, and the entry is never answered', async () => {
    const { get, rows, state, engine } = createCachingGateway();
    await get();
    refreshRow(rows);
    expect((await get('?min_token_version=7')).json['token_version']).toBe(7);
    expect(state.reads).toBe(1);
    expect((await get('?min_token_version=8')).json['token_version']).toBe(8);
    expect([state.reads, engine.calls.length]).toEqual([2, 0]);
    // What a caller has seen once, the next one sees too.
    expect((await get()).json['token_version']).toBe(8);
    expect(state.reads).toBe(2);
  });

  it('a version far ahead of the entry is judged by the row, not by the entry', async () => {
    const { get, rows } = createCachingGateway();
    await get();
    for (let version = 8; version <= 10; version += 1) refreshRow(rows);
    expect((await get('?min_token_version=10')).status).toBe(200);
    expect((await get('?min_token_version=12')).status).toBe(400);
  });

  it('min_ttl_seconds: the row is read', async () => {
    const { get, rows, state } = createCachingGateway();
    await get('?min_ttl_seconds=1800');
    refreshRow(rows);
    expect((await get('?min_ttl_seconds=1800')).json['token_version']).toBe(7);
    expect((await get('?min_ttl_seconds=1801')).json['token_version']).toBe(8);
    expect(state.reads).toBe(2);
  });

  it('a token that expired in the cache is not answered, within TOKEN_CACHE_SECONDS or not', async () => {
    const { get, engine, rows, passSeconds } = createCachingGateway(
      connectionRow({ expiresAt: secondsFromStart(3) }),
    );
    engine.respond = () => Promise.resolve(refreshRow(rows));
    await get();
    passSeconds(3);
    expect((await get()).json).toMatchObject({ token_version: 8, refreshed: true });
  });
});

describe('a POST', () => {
  it.each([undefined, {}, { min_ttl_seconds: 60 }, { rejected_token_version: 6 }])(
    'reads the row, never the cache: %j',
    async (body) => {
      const { app, get, rows, state } = createCachingGateway();
      await get();
      refreshRow(rows);
      const { json } = await call(app, 'POST', refreshPath, body);
      expect([json['token_version'], state.reads]).toEqual([8, 2]);
      expect((await get()).json['token_version']).toBe(8);
    },
  );

  it('judges a rejected version by the row', async () => {
    const { app, get, rows, engine } = createCachingGateway();
    await get();
    refreshRow(rows);
    const { json } = await call(app, 'POST', refreshPath, { rejected_token_version: 7 });
    expect([json['token_version'], engine.calls.length]).toEqual([8, 0]);
  });

  it('does not take the SELECT that a GET has under way', async () => {
    const { app, get, rows, state } = createCachingGateway();
    let answer = (): void => undefined;
    state.readsWait = new Promise((resolve) => (answer = resolve));
    const trailing = get();
    await settle();
    refreshRow(rows);
    const post = call(app, 'POST', refreshPath, undefined);
    await settle();
    answer();
    expect((await trailing).json['token_version']).toBe(7);
    expect((await post).json['token_version']).toBe(8);
  });

  it('is refused while PostgreSQL is away, whatever is cached', async () => {
    const { app, get, state } = createCachingGateway();
    await get();
    state.readsFail = storeAway;
    const { status, json } = await call(app, 'POST', refreshPath, undefined);
    expect([status, json['code']]).toEqual([503, 'store_unavailable']);
  });
});

describe('a pause and a resume', () => {
  it('are read by whoever made them', async () => {
    const { app, get } = createCachingGateway();
    const statuses = [(await get()).json['connection_status']];
    for (const change of ['pause', 'resume']) {
      await call(app, 'POST', `/v1/connections/c1/${change}`);
      statuses.push((await get()).json['connection_status']);
    }
    expect(statuses).toEqual(['active', 'paused', 'active']);
  });
});

describe('a PUT', () => {
  it('is seen by the next read here, without a notice', async () => {
    const { app, get, rows } = createCachingGateway();
    await get();
    refreshRow(rows);
    await call(app, 'PUT', '/v1/connections/c1', { tenant_id: 't1', app_id: 'a1' });
    expect((await get()).json['token_version']).toBe(8);
  });

  it('is seen also when its end is not known', async () => {
    const { app, get, rows, state } = createCachingGateway();
    await get();
    state.put = () => {
      refreshRow(rows);
      return Promise.reject(new Error('the connection broke at commit'));
    };
    await call(app, 'PUT', '/v1/connections/c1', { tenant_id: 't1', app_id: 'a1' });
    expect((await get()).json['token_version']).toBe(8);
  });
});

describe('while PostgreSQL is away', () => {
  it('a cached, valid token is answered as source=stale, with or without LISTEN', async () => {
    const { get, state, passSeconds, loseListen, countReads, engine } = createCachingGateway(
      connectionRow({ refreshDueAt: secondsFromStart(1) }),
    );
    await get();
    state.readsFail = storeAway;
    passSeconds(5);
    expect((await get()).json).toMatchObject({ token_version: 7, refreshed: false });
    loseListen();
    passSeconds(299);
    expect((await get()).status).toBe(200);
    expect(await countReads('stale')).toBe(2);
    // Nothing could be stored, so nothing is refreshed either.
    expect(engine.calls).toHaveLength(0);
    passSeconds(1);
    expect((await get()).json['code']).toBe('store_unavailable');
  });

  it('a token that has expired is not', async () => {
    const { get, state, passSeconds } = createCachingGateway(
      connectionRow({ expiresAt: secondsFromStart(60) }),
    );
    await get();
    state.readsFail = storeAway;
    passSeconds(59);
    expect((await get()).status).toBe(200);
    passSeconds(1);
    expect((await get()).status).toBe(503);
  });

  it.each(['?min_token_version=8', '?min_ttl_seconds=1900'])(
    'nothing is answered that does not satisfy %s',
    async (query) => {
      const { get, state, passSeconds } = createCachingGateway();
      await get();
      state.readsFail = storeAway;
      passSeconds(5);
      expect((await get(query)).json['code']).toBe('store_unavailable');
    },
  );

  it('a fault that is not its absence is no reason to answer what is cached', async () => {
    const { get, state, passSeconds } = createCachingGateway();
    await get();
    state.readsFail = new TokenManagerError('internal');
    passSeconds(5);
    expect((await get()).status).toBe(500);
  });

  it('what is not cached is 503 with Retry-After, and the store is not asked for each caller', async () => {
    const { get, state } = createCachingGateway();
    state.readsFail = storeAway;
    const { status, json, headers } = await get();
    expect([status, json['code'], headers.get('Retry-After')]).toEqual([
      503,
      'store_unavailable',
      '1',
    ]);
    const asked = state.reads;
    const answers = await Promise.all(Array.from({ length: 100 }, () => get()));
    expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([503]));
    expect(state.reads).toBe(asked);
  });

  it('the row is read again once it is back', async () => {
    const { get, state, rows, passSeconds } = createCachingGateway();
    await get();
    state.readsFail = storeAway;
    passSeconds(5);
    await get();
    state.readsFail = undefined;
    refreshRow(rows);
    passSeconds(1);
    expect((await get()).json['token_version']).toBe(8);
  });
});

it('callers of one connection share a SELECT, and another when the first does not satisfy them', async () => {
  const { app, engine, rows, state } = createCachingGateway(
    connectionRow({ expiresAt: secondsFromStart(-1) }),
  );
  const answers = Array.from({ length: 200 }, () => call(app, 'GET', tokenPath));
  await settle();
  engine.calls[0]?.resolve(refreshRow(rows));
  for (const { json } of await Promise.all(answers)) {
    expect(json).toMatchObject({ token_version: 8, refreshed: true });
  }
  expect(engine.calls).toHaveLength(1);
  // Two on arrival and two after the refresh, where each caller used to need two of its own.
  expect(state.reads).toBeLessThanOrEqual(4);
});

describe('a GET that waits for a refresh', () => {
  it('is answered as soon as the token is stored, while the run that stored it goes on', async () => {
    const { get, engine, rows, notify, state } = createCachingGateway(connectionRow(expired));
    const herd = Array.from({ length: 20 }, () => get());
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    await settle();
    refreshRow(rows);
    notify('c1');
    for (const { status, json } of await Promise.all(herd)) {
      expect([status, json['token_version'], json['refreshed']]).toEqual([200, 8, true]);
    }
    expect(engine.calls).toHaveLength(1);
    // Those who come together share two SELECTs at most, on arrival and when they hear of the token.
    expect(state.reads).toBeLessThanOrEqual(4);
  });

  it('waits on where what was stored does not do', async () => {
    const { get, engine, rows, notify } = createCachingGateway(connectionRow(expired));
    const waiting = get();
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    await settle();
    notify('c2');
    notify('c1');
    await settle();
    notify('c1');
    await settle();
    engine.calls[0]?.resolve(refreshRow(rows));
    expect((await waiting).json['token_version']).toBe(8);
    expect(engine.calls).toHaveLength(1);
  });
});
