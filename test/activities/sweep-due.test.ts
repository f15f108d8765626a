import { afterEach, describe, expect, it, vi } from 'vitest';
import type { RefreshResult } from '../../client/contract.ts';
import type { ClaimedConnection, DueApp, SweepQuota } from '../../connections/sweep.ts';
import { sweepDue, type SweepLimits } from '../../activities/sweep-due.ts';

const limits: SweepLimits = {
  openMax: 20,
  openOfAppMax: 10,
  startsPerSecond: 50,
  startsPerSecondOfApp: 8,
};

/** Apps with so many connections due, over a clock that only sleeping moves. */
function createSweep(
  due: Record<string, number>,
  options: {
    app?: Partial<DueApp>;
    closed?: string[];
    answerMs?: number;
    /** How long Temporal takes for a start. */
    startMs?: number;
    /** Apps whose provider takes that long instead. */
    slowMs?: Record<string, number>;
    /** Called with the time whenever it has passed. */
    onTime?: (nowMs: number) => void;
  } = {},
) {
  const {
    answerMs = 50,
    startMs = 0,
    slowMs = {},
    closed = [],
    onTime = () => undefined,
  } = options;
  const left = new Map(Object.entries(due));
  const state = { nowMs: 0, open: 0, openMax: 0, startingMax: 0 };
  const started: { connectionId: string; trigger: string; atMs: number }[] = [];
  const asked: SweepQuota[][] = [];
  const endings: { atMs: number; end: () => void }[] = [];
  const startings: typeof endings = [];
  const stopping = new AbortController();
  const run = () =>
    sweepDue(
      {
        sweep: {
          dueApps: () =>
            Promise.resolve(
              [...left]
                .filter(([, count]) => count > 0)
                .map(([appId]) => ({
                  appId,
                  provider: 'generic',
                  overrides: {},
                  limits: {},
                  recentSends: 0,
                  ...options.app,
                })),
            ),
          claim(quotas, limit) {
            asked.push(quotas);
            const claimed = quotas
              .flatMap(({ appId, quota }) => take(appId, quota))
              .slice(0, limit);
            return Promise.resolve({ claimed, now: new Date(0) });
          },
          announceEnds: () => Promise.resolve(0),
          lagSeconds: () => Promise.resolve(0),
        },
        refreshes: {
          refresh({ connectionId, trigger }, _signal, onStarted) {
            startings.push({ atMs: state.nowMs + startMs, end: onStarted });
            state.startingMax = Math.max(state.startingMax, startings.length);
            started.push({ connectionId, trigger, atMs: state.nowMs });
            state.open += 1;
            state.openMax = Math.max(state.openMax, state.open);
            return new Promise<RefreshResult | undefined>((resolve) => {
              endings.push({
                atMs: state.nowMs + (slowMs[appOf(connectionId)] ?? answerMs),
                end() {
                  state.open -= 1;
                  resolve({ connectionId, outcome: 'refreshed', tokenVersion: 2, expiresAt: null });
                },
              });
            });
          },
        },
        providers: {
          resolve: () => {
            throw new Error('a definition that does not hold');
          },
        },
        limits,
        clock: { monotonicMs: () => state.nowMs },
        async sleep(ms) {
          state.nowMs += ms;
          onTime(state.nowMs);
          for (const pending of [startings, endings]) {
            for (const ending of pending.splice(0)) {
              if (ending.atMs <= state.nowMs) ending.end();
              else pending.push(ending);
            }
          }
          await new Promise((resolve) => setImmediate(resolve));
        },
        random: () => 0.5,
        stopping: stopping.signal,
        log: { info: () => undefined, warn: () => undefined },
      },
      () => undefined,
    );

  function take(appId: string, quota: number): ClaimedConnection[] {
    const count = Math.min(left.get(appId) ?? 0, quota);
    left.set(appId, (left.get(appId) ?? 0) - count);
    return Array.from({ length: count }, (_, at) => ({
      connectionId: `${appId}-${at}`,
      tenantId: 't',
      appId,
      tokenVersion: 1,
      dueAt: new Date(at),
      isProbe: appId === 'probed',
      isPutOff: closed.includes(appId),
    }));
  }

  return { run, started, asked, state, stopping, left, closed };
}

function appOf(connectionId: string): string {
  return connectionId.replace(/-\d+$/, '');
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a sweep', () => {
  it('starts everything that is due, so many a second of an app', async () => {
    const { run, started } = createSweep({ one: 40 });
    expect(await run()).toEqual({ started: 40, refreshed: 40, putOff: 0 });
    for (const { atMs: from } of started) {
      const inSecond = started.filter(({ atMs }) => atMs >= from && atMs < from + 1_000);
      expect(inSecond.length).toBeLessThanOrEqual(2 * limits.startsPerSecondOfApp);
    }
    expect(started.at(-1)?.atMs).toBeGreaterThan(3_500);
  });

  it('keeps within what may be open, of an app and of all', async () => {
    const slow = { answerMs: 20_000 };
    const one = createSweep({ one: 30 }, slow);
    await one.run();
    expect(one.state.openMax).toBe(limits.openOfAppMax);
    const many = createSweep(Object.fromEntries(['a', 'b', 'c', 'd'].map((id) => [id, 9])), slow);
    await many.run();
    expect(many.state.openMax).toBe(limits.openMax);
  });

  it('lets an app with a long backlog hide no other', async () => {
    const { run, started } = createSweep({ big: 400, small: 2 });
    await run();
    const smalls = started.filter(({ connectionId }) => connectionId.startsWith('small'));
    expect(Math.max(...smalls.map(({ atMs }) => atMs))).toBeLessThan(2_000);
  });

  it('goes on with what falls due while a provider that hangs keeps its refreshes open', async () => {
    const sweep = createSweep(
      { hangs: 3, other: 1 },
      {
        slowMs: { hangs: 60_000 },
        onTime(nowMs) {
          if (nowMs > 20_000 && !hasMore) {
            hasMore = true;
            sweep.left.set('other', 1);
          }
        },
      },
    );
    let hasMore = false;
    expect(await sweep.run()).toMatchObject({ started: 5, refreshed: 5 });
    const others = sweep.started.filter(({ connectionId }) => appOf(connectionId) === 'other');
    expect(others[1]?.atMs).toBeLessThan(22_000);
  });

  it('starts no more at once than Temporal takes', async () => {
    const { run, state } = createSweep({ one: 40, two: 40 }, { startMs: 5_000, answerMs: 6_000 });
    expect(await run()).toMatchObject({ started: 80, refreshed: 80 });
    expect(state.startingMax).toBe(8);
  });

  it('counts a refresh as open for as long as its exchange may hold a slot', async () => {
    const timeout = vi.spyOn(AbortSignal, 'timeout');
    await createSweep({ one: 1 }).run();
    // startToCloseTimeout of the Activity refreshToken.
    expect(timeout.mock.calls[0]?.[0]).toBeGreaterThan(75_000);
  });

  it.each<[string, Partial<DueApp>, number]>([
    ['concurrency', { limits: { concurrency: 4 } }, 2],
    ['a window', { limits: { per_window: { count: 10, seconds: 60 } }, recentSends: 2 }, 3],
  ])('takes half of what %s allows at most', async (_what, app, first) => {
    const { run, asked } = createSweep({ one: 3 }, { app });
    await run();
    expect(asked[0]).toEqual([{ appId: 'one', quota: first }]);
  });

  it('starts nothing of an app whose gate is closed, and asks once', async () => {
    const { run, asked } = createSweep({ shut: 50 }, { closed: ['shut'] });
    expect(await run()).toEqual({ started: 0, refreshed: 0, putOff: limits.startsPerSecondOfApp });
    expect(asked).toHaveLength(1);
  });

  it('looks at an app whose gate was closed again while it goes on', async () => {
    const sweep = createSweep(
      { shut: 9, hangs: 1 },
      {
        closed: ['shut'],
        slowMs: { hangs: 30_000 },
        onTime(nowMs) {
          if (nowMs > 5_000) closed.length = 0;
        },
      },
    );
    const closed = sweep.closed;
    const { putOff, started } = await sweep.run();
    expect([putOff, started]).toEqual([limits.startsPerSecondOfApp, 2]);
  });

  it('says that a verdict is being looked at again', async () => {
    const { run, started } = createSweep({ probed: 1 });
    await run();
    expect(started).toMatchObject([{ trigger: 'probe' }]);
  });

  it('starts nothing more when the process ends', async () => {
    const { run, started, stopping } = createSweep({ one: 400 });
    const running = run();
    await new Promise((resolve) => setImmediate(resolve));
    stopping.abort();
    await running;
    expect(started.length).toBeLessThan(20);
  });
});
