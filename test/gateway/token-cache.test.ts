import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import type { Connection } from '../../connections/connection.ts';
import type { TokenReading } from '../../connections/registry.ts';
import type { TokenNotices } from '../../connections/token-notices.ts';
import { createStoreOutage } from '../../gateway/store-outage.ts';
import {
  cachedTokensMax,
  createTokenCache,
  type HeldToken,
  type StoredToken,
} from '../../gateway/token-cache.ts';
import { Secret } from '../../platform/secret.ts';
import { accessTokenOf, connectionRow, secondsFromStart, startsAt } from './gateway-fakes.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

interface HeldSelect {
  /** Answers with the row as it is now. */
  answer(): void;
  fail(error: unknown): void;
}

/** A cache over rows in memory, with a clock, a LISTEN and SELECTs that the test drives. */
function createFakes(options: { cacheSeconds?: number; entriesMax?: number; deaf?: boolean } = {}) {
  const rows = new Map<string, Connection>([['c1', connectionRow()]]);
  const state = {
    nowMs: 50_000,
    session: 1 as number | undefined,
    selects: 0,
    opened: 0,
    away: false,
    hold: false,
    openFails: undefined as Error | undefined,
    opening: Promise.resolve(),
  };
  const held: HeldSelect[] = [];
  const hearers = new Set<(id: string) => void>();
  const notices: TokenNotices = {
    session: () => state.session,
    subscribe(hear) {
      hearers.add(hear);
      return () => hearers.delete(hear);
    },
  };

  function readingOf(connection: Connection | undefined): TokenReading | undefined {
    if (connection === undefined) return undefined;
    return {
      connection,
      open() {
        state.opened += 1;
        if (state.openFails !== undefined) return Promise.reject(state.openFails);
        return state.opening.then(() => new Secret(accessTokenOf(connection)));
      },
    };
  }

  const clock = { monotonicMs: () => state.nowMs, wallMs: () => 0 };
  const cache = createTokenCache({
    connections: {
      readToken(id) {
        state.selects += 1;
        if (state.away) return Promise.reject(new TokenManagerError('store_unavailable'));
        // The snapshot is taken when the SELECT begins, whenever it is answered.
        const reading = readingOf(rows.get(id));
        if (!state.hold) return Promise.resolve(reading);
        return new Promise((resolve, reject) => {
          held.push({ answer: () => resolve(reading), fail: reject });
        });
      },
    },
    notices: options.deaf === true ? undefined : notices,
    outage: createStoreOutage(clock),
    clock,
    databaseClock: {
      observe: () => undefined,
      now: () => new Date(startsAt.getTime() + state.nowMs - 50_000),
    },
    cacheSeconds: options.cacheSeconds ?? 5,
    ...(options.entriesMax !== undefined && { entriesMax: options.entriesMax }),
  });
  return {
    cache,
    rows,
    state,
    held,
    notify: (id: string): void => {
      for (const hear of hearers) hear(id);
    },
    passSeconds: (seconds: number): void => {
      state.nowMs += seconds * 1_000;
    },
    refresh: (id = 'c1'): void => {
      const row = rows.get(id) ?? connectionRow({ id });
      const next = { tokenVersion: row.tokenVersion + 1, generation: row.generation + 1 };
      rows.set(id, { ...row, ...next });
    },
  };
}

const anything = () => true;

function versionOf(found: StoredToken | HeldToken | undefined): number | undefined {
  return found !== undefined && 'connection' in found
    ? found.connection.tokenVersion
    : found?.tokenVersion;
}

/** Lets every promise that can settle do so. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

describe('an entry', () => {
  it('answers without a SELECT and without opening the token again, for TOKEN_CACHE_SECONDS', async () => {
    const { cache, state, passSeconds } = createFakes();
    expect(cache.find('c1')).toBeUndefined();
    await cache.read('c1');
    passSeconds(3.999);
    expect(cache.find('c1')?.text.accessToken().reveal()).toBe('access-c1-7');
    passSeconds(1.001);
    expect(cache.find('c1')).toBeUndefined();
    expect([state.selects, state.opened]).toEqual([1, 1]);
  });

  it('is read anew, once, behind whoever asks for it in the last fifth of its time', async () => {
    const { cache, state, held, passSeconds } = createFakes();
    await cache.read('c1');
    passSeconds(4);
    state.hold = true;
    expect([cache.find('c1'), cache.find('c1')].map(versionOf)).toEqual([7, 7]);
    expect(state.selects).toBe(2);
    passSeconds(0.999);
    held[0]?.answer();
    await settle();
    passSeconds(3);
    expect(cache.find('c1')).toBeDefined();
    passSeconds(1.001);
    expect(cache.find('c1')).toBeUndefined();
    expect(state.selects).toBe(2);
  });

  it('ends at its time although it could not be read anew, and nobody hears of that', async () => {
    const { cache, state, passSeconds } = createFakes();
    await cache.read('c1');
    passSeconds(4.5);
    state.away = true;
    expect(cache.find('c1')).toBeDefined();
    await settle();
    passSeconds(0.499);
    expect(cache.find('c1')).toBeDefined();
    passSeconds(0.001);
    expect(cache.find('c1')).toBeUndefined();
    expect(cache.findStale('c1')).toBeDefined();
  });

  it('is not read anew for another tenant: that row is not opened', async () => {
    const { cache, rows, state, passSeconds } = createFakes();
    await cache.read('c1');
    rows.set('c1', connectionRow({ tenantId: 'another' }));
    passSeconds(4.5);
    expect(cache.find('c1')).toBeDefined();
    await settle();
    expect([state.selects, state.opened]).toEqual([2, 1]);
    passSeconds(0.5);
    expect(cache.find('c1')).toBeUndefined();
  });

  it('counts its age from when its SELECT began, not from the answer', async () => {
    const { cache, state, held, passSeconds } = createFakes();
    state.hold = true;
    const reading = cache.read('c1');
    passSeconds(1.5);
    held[0]?.answer();
    await reading;
    passSeconds(3.499);
    expect(cache.find('c1')).toBeDefined();
    passSeconds(0.001);
    expect(cache.find('c1')).toBeUndefined();
  });

  it('is dropped by a notice, and no other entry with it', async () => {
    const { cache, rows, notify } = createFakes();
    rows.set('c2', connectionRow({ id: 'c2' }));
    await cache.read('c1');
    await cache.read('c2');
    notify('c1');
    expect(cache.find('c1')).toBeUndefined();
    expect(cache.findStale('c1')).toBeUndefined();
    expect(versionOf(cache.find('c2'))).toBe(7);
  });

  it('is not made of what cannot be answered: no connection, no token, an expired token', async () => {
    const { cache, rows, state } = createFakes();
    rows.set('no-token', connectionRow({ id: 'no-token', hasAccessToken: false }));
    rows.set('expired', connectionRow({ id: 'expired', expiresAt: secondsFromStart(0) }));
    for (const id of ['unknown', 'no-token', 'expired']) {
      await cache.read(id);
      expect([cache.find(id), cache.findStale(id)]).toEqual([undefined, undefined]);
    }
    expect(state.opened).toBe(0);
  });

  it('ends when a later SELECT finds the connection gone, or its token expired', async () => {
    const { cache, rows } = createFakes();
    await cache.read('c1');
    rows.delete('c1');
    await cache.read('c1');
    expect(cache.findStale('c1')).toBeUndefined();
    rows.set('c1', connectionRow());
    await cache.read('c1');
    rows.set('c1', connectionRow({ expiresAt: startsAt }));
    await cache.read('c1');
    expect(cache.findStale('c1')).toBeUndefined();
  });

  it('is not made of a failure, which the next caller does not inherit', async () => {
    const { cache, state } = createFakes();
    state.openFails = new TokenManagerError('key_service_unavailable');
    const reading = await cache.read('c1');
    await expect(reading?.text()).rejects.toThrow(TokenManagerError);
    expect(cache.findStale('c1')).toBeUndefined();
    state.openFails = undefined;
    const again = await cache.read('c1');
    expect((await again?.text())?.accessToken().reveal()).toBe('access-c1-7');
    expect(cache.find('c1')).toBeDefined();
  });

  it('ends when the token of a later SELECT does not open', async () => {
    const { cache, state } = createFakes();
    await cache.read('c1');
    state.openFails = new TokenManagerError('internal');
    await cache.read('c1');
    expect(cache.findStale('c1')).toBeUndefined();
  });

  it('keeps a token that it holds while the key of the row cannot be had, and not a newer one', async () => {
    const { cache, state } = createFakes();
    await cache.read('c1');
    state.openFails = new TokenManagerError('key_service_unavailable');
    const again = await cache.read('c1');
    expect((await again?.text())?.accessToken().reveal()).toBe('access-c1-7');
    expect(cache.findStale('c1')).toBeDefined();
  });

  it('gives way to newer ones beyond the bound, the oldest first', async () => {
    expect(cachedTokensMax).toBe(100_000);
    const { cache, rows } = createFakes({ entriesMax: 3 });
    for (const id of ['c1', 'c2', 'c3', 'c4']) {
      rows.set(id, connectionRow({ id }));
      await cache.read(id);
    }
    expect(['c1', 'c2', 'c3', 'c4'].map((id) => cache.findStale(id) !== undefined)).toEqual([
      false,
      true,
      true,
      true,
    ]);
  });

  it('gives way by size too: much metadata leaves room for fewer', async () => {
    const { cache, rows } = createFakes();
    const metadata = { much: 'x'.repeat(100 * 1_024 * 1_024) };
    for (const id of ['c1', 'c2', 'c3']) {
      rows.set(id, connectionRow({ id, metadata }));
      await cache.read(id);
    }
    expect(['c1', 'c2', 'c3'].map((id) => cache.find(id) !== undefined)).toEqual([
      false,
      true,
      true,
    ]);
  });
});

describe('a notice that overtakes a fill', () => {
  it('keeps what the SELECT saw from being cached', async () => {
    const { cache, state, held, refresh, notify } = createFakes();
    state.hold = true;
    const reading = cache.read('c1');
    refresh();
    notify('c1');
    held[0]?.answer();
    expect(versionOf(await reading)).toBe(7);
    expect([cache.find('c1'), cache.findStale('c1')]).toEqual([undefined, undefined]);
  });

  it('does so while the token is being opened as well', async () => {
    const { cache, state, notify } = createFakes();
    let finish = (): void => undefined;
    state.opening = new Promise((resolve) => (finish = resolve));
    const reading = cache.read('c1');
    await settle();
    expect(state.opened).toBe(1);
    notify('c1');
    finish();
    await reading;
    expect(cache.findStale('c1')).toBeUndefined();
  });

  it('is not shared by callers who come after it, whose SELECT is cached', async () => {
    const { cache, state, held, refresh, notify } = createFakes();
    state.hold = true;
    const before = cache.read('c1');
    refresh();
    notify('c1');
    const after = cache.read('c1', anything);
    expect(state.selects).toBe(2);
    held[0]?.answer();
    await before;
    const joined = cache.read('c1', anything);
    expect(state.selects).toBe(2);
    held[1]?.answer();
    expect([versionOf(await after), versionOf(await joined)]).toEqual([8, 8]);
    expect(versionOf(cache.find('c1'))).toBe(8);
  });

  it('loses to it although it ends later', async () => {
    const { cache, state, held, refresh, notify } = createFakes();
    state.hold = true;
    const before = cache.read('c1');
    refresh();
    notify('c1');
    const after = cache.read('c1');
    held[1]?.answer();
    await after;
    held[0]?.answer();
    await before;
    expect(versionOf(cache.find('c1'))).toBe(8);
  });

  it('sends those who had joined the SELECT to the next one', async () => {
    const { cache, state, held, refresh, notify } = createFakes();
    state.hold = true;
    void cache.read('c1');
    const joined = cache.read('c1', anything);
    refresh();
    notify('c1');
    held[0]?.answer();
    await settle();
    held[1]?.answer();
    expect(versionOf(await joined)).toBe(8);
  });

  it('leaves fills of other connections alone', async () => {
    const { cache, state, held, notify } = createFakes();
    state.hold = true;
    const reading = cache.read('c1');
    notify('c2');
    held[0]?.answer();
    await reading;
    expect(cache.find('c1')).toBeDefined();
  });
});

describe('SELECTs of one connection', () => {
  it('are one for callers who take what is under way', async () => {
    const { cache, state, held } = createFakes();
    state.hold = true;
    const readings = Array.from({ length: 100 }, () => cache.read('c1', anything));
    held[0]?.answer();
    for (const reading of await Promise.all(readings)) await reading?.text();
    expect([state.selects, state.opened]).toEqual([1, 1]);
  });

  it('are one more, together, for callers whom it does not satisfy', async () => {
    const { cache, state, held, refresh } = createFakes();
    state.hold = true;
    const needs8 = (connection: Connection) => connection.tokenVersion >= 8;
    const first = cache.read('c1', needs8);
    refresh();
    const readings = Array.from({ length: 100 }, () => cache.read('c1', needs8));
    held[0]?.answer();
    await settle();
    held[1]?.answer();
    expect(versionOf(await first)).toBe(7);
    expect(new Set((await Promise.all(readings)).map(versionOf))).toEqual(new Set([8]));
    expect(state.selects).toBe(2);
  });

  it('begin after the call for callers who must not trail', async () => {
    const { cache, state, held, refresh } = createFakes();
    state.hold = true;
    void cache.read('c1');
    refresh();
    const strict = cache.read('c1');
    held[0]?.answer();
    await settle();
    held[1]?.answer();
    expect(versionOf(await strict)).toBe(8);
  });

  it('share a failure, and the next one is a SELECT of its own', async () => {
    const { cache, state, held } = createFakes();
    state.hold = true;
    const readings = [cache.read('c1'), cache.read('c1', anything), cache.read('c1')];
    held[0]?.fail(new Error('broken'));
    for (const outcome of await Promise.allSettled(readings))
      expect(outcome.status).toBe('rejected');
    state.hold = false;
    expect(versionOf(await cache.read('c1'))).toBe(7);
  });

  it('are not waited for by others while they ask whether the store is back', async () => {
    const { cache, state, held, passSeconds } = createFakes();
    state.away = true;
    await expect(cache.read('c1')).rejects.toThrow(TokenManagerError);
    passSeconds(1);
    state.away = false;
    state.hold = true;
    const probe = cache.read('c1');
    await expect(cache.read('c1', anything)).rejects.toThrow(TokenManagerError);
    await expect(cache.read('c1')).rejects.toThrow(TokenManagerError);
    held[0]?.answer();
    expect(versionOf(await probe)).toBe(7);
    state.hold = false;
    expect(versionOf(await cache.read('c1'))).toBe(7);
  });

  it('replace what an earlier one found', async () => {
    const { cache, refresh } = createFakes();
    await cache.read('c1');
    refresh();
    await cache.read('c1');
    expect(versionOf(cache.find('c1'))).toBe(8);
  });
});

describe('without LISTEN', () => {
  it('an entry is not used before a SELECT, but kept for an outage', async () => {
    const { cache, state } = createFakes();
    await cache.read('c1');
    state.session = undefined;
    expect(cache.find('c1')).toBeUndefined();
    expect(cache.findStale('c1')).toBeDefined();
    await cache.read('c1');
    expect(cache.find('c1')).toBeUndefined();
  });

  it('everything read before is untrusted once it is back, and what is read then is trusted', async () => {
    const { cache, state } = createFakes();
    await cache.read('c1');
    state.session = undefined;
    state.session = 2;
    expect(cache.find('c1')).toBeUndefined();
    expect(cache.findStale('c1')).toBeDefined();
    await cache.read('c1');
    expect(cache.find('c1')).toBeDefined();
  });

  it.each([
    ['it starts', undefined, 1],
    ['it was away', 1, 2],
  ])('a SELECT during which %s is untrusted', async (_case, before, after) => {
    const { cache, state, held } = createFakes();
    state.session = before;
    state.hold = true;
    const reading = cache.read('c1');
    state.session = after;
    held[0]?.answer();
    await reading;
    expect(cache.find('c1')).toBeUndefined();
  });

  it('nothing is ever answered from memory where no LISTEN is given', async () => {
    const { cache } = createFakes({ deaf: true });
    await cache.read('c1');
    expect(cache.find('c1')).toBeUndefined();
    expect(cache.findStale('c1')).toBeDefined();
  });
});

describe('what is kept for an outage', () => {
  it('is kept 300 s beyond TOKEN_CACHE_SECONDS and no longer', async () => {
    const { cache, passSeconds } = createFakes();
    await cache.read('c1');
    passSeconds(304.999);
    expect(cache.findStale('c1')).toBeDefined();
    passSeconds(0.001);
    expect(cache.findStale('c1')).toBeUndefined();
  });

  it('leaves the memory when its time is over, whether or not somebody asks', async () => {
    const { cache, rows, passSeconds } = createFakes();
    await cache.read('c1');
    passSeconds(200);
    rows.set('c2', connectionRow({ id: 'c2' }));
    await cache.read('c2');
    passSeconds(105);
    await vi.advanceTimersByTimeAsync(10_000);
    // Going back in time shows whether the entry itself is gone.
    passSeconds(-105);
    expect(cache.findStale('c1')).toBeUndefined();
    expect(cache.findStale('c2')).toBeDefined();
    passSeconds(305);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('TOKEN_CACHE_SECONDS=0', () => {
  it('keeps nothing, neither to answer from nor for an outage', async () => {
    const { cache, state } = createFakes({ cacheSeconds: 0 });
    await cache.read('c1');
    expect([cache.find('c1'), cache.findStale('c1')]).toEqual([undefined, undefined]);
    expect(state.opened).toBe(0);
  });

  it('lets no caller take a SELECT that began before it', async () => {
    const { cache, state, held, refresh } = createFakes({ cacheSeconds: 0 });
    state.hold = true;
    void cache.read('c1');
    refresh();
    const reading = cache.read('c1', anything);
    held[0]?.answer();
    await settle();
    held[1]?.answer();
    expect(versionOf(await reading)).toBe(8);
  });
});
