import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  clampLifetimeSeconds,
  isInsideMargin,
  refreshBehindFromMs,
  lifetimeMaxSeconds,
  refreshDueAt,
  refreshMarginSeconds,
  satisfiesDemand,
  type Demand,
} from '../../connections/freshness.ts';
import { readAt, sampleConnection, secondsLater } from './sample-connection.ts';

const now = readAt;
const anyLifetimeSeconds = fc.double({ min: 1, max: lifetimeMaxSeconds, noNaN: true });
/** As Math.random draws it. */
const anyFraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('the refresh margin', () => {
  it.each([
    [1, 2],
    [20, 2],
    [60, 6],
    [1_800, 180],
    [3_000, 300],
    [3_600, 300],
    [86_400, 300],
  ])('of a lifetime of %d s is %d s', (lifetimeSeconds, marginSeconds) => {
    expect(refreshMarginSeconds(lifetimeSeconds)).toBe(marginSeconds);
  });

  it('is never under 2 s or over 300 s, and never shrinks with a longer lifetime', () => {
    fc.assert(
      fc.property(anyLifetimeSeconds, anyLifetimeSeconds, (one, other) => {
        const [short, long] = [
          refreshMarginSeconds(Math.min(one, other)),
          refreshMarginSeconds(Math.max(one, other)),
        ];
        expect(short).toBeGreaterThanOrEqual(2);
        expect(long).toBeLessThanOrEqual(300);
        expect(short).toBeLessThanOrEqual(long);
      }),
    );
  });
});

describe('the due time', () => {
  it.each([
    ['an hour, no jitter', 3_600, 3_600, 0, 3_300],
    ['an hour, all the jitter', 3_600, 3_600, 1, 3_270],
    ['a minute, half the jitter', 60, 60, 0.5, 60 - 6.3],
    ['two seconds: a second from now at the earliest', 2, 2, 0, 1],
    ['a token that has expired', 3_600, -100, 0, 1],
  ])('of a token of %s', (_name, lifetimeSeconds, remainingSeconds, fraction, dueInSeconds) => {
    const expiresAt = secondsLater(remainingSeconds);
    expect(refreshDueAt({ expiresAt, lifetimeSeconds, now, fraction })).toEqual(
      secondsLater(dueInSeconds),
    );
  });

  it('is never earlier than a second from now', () => {
    fc.assert(
      fc.property(
        anyLifetimeSeconds,
        fc.double({ min: -1e6, max: lifetimeMaxSeconds, noNaN: true }),
        anyFraction,
        (lifetimeSeconds, remainingSeconds, fraction) => {
          const expiresAt = secondsLater(remainingSeconds);
          const due = refreshDueAt({ expiresAt, lifetimeSeconds, now, fraction });
          expect(due.getTime()).toBeGreaterThanOrEqual(now.getTime() + 1_000);
        },
      ),
    );
  });

  it('lies a margin and at most a tenth of it before the expiry, where that is in time', () => {
    fc.assert(
      fc.property(anyLifetimeSeconds, anyFraction, (lifetimeSeconds, fraction) => {
        fc.pre(lifetimeSeconds > 4);
        const expiresAt = secondsLater(lifetimeSeconds);
        const due = refreshDueAt({ expiresAt, lifetimeSeconds, now, fraction });
        const earlyMs = expiresAt.getTime() - due.getTime();
        const marginMs = 1_000 * refreshMarginSeconds(lifetimeSeconds);
        // Dates hold whole milliseconds.
        expect(earlyMs).toBeGreaterThanOrEqual(marginMs - 1);
        expect(earlyMs).toBeLessThanOrEqual(1.1 * marginMs + 1);
      }),
    );
  });
});

describe('the lifetime as issued', () => {
  it.each([
    [null, null],
    [Number.NaN, null],
    [Number.POSITIVE_INFINITY, null],
    [Number.NEGATIVE_INFINITY, null],
    [-5, 1],
    [0, 1],
    [0.5, 1],
    [3_600, 3_600],
    [1e12, 10 * 365 * 86_400],
  ])('%s counts as %s', (expiresIn, lifetimeSeconds) => {
    expect(clampLifetimeSeconds(expiresIn)).toBe(lifetimeSeconds);
  });

  it('is within 1 second and 10 years, or missing', () => {
    fc.assert(
      fc.property(fc.double(), (expiresIn) => {
        const seconds = clampLifetimeSeconds(expiresIn);
        if (seconds === null) expect(Number.isFinite(expiresIn)).toBe(false);
        else expect(seconds >= 1 && seconds <= lifetimeMaxSeconds).toBe(true);
      }),
    );
  });
});

describe('the margin of a connection', () => {
  it.each([
    ['before its due time', secondsLater(0.001), false],
    ['at its due time', now, true],
    ['after its due time', secondsLater(-60), true],
    ['without a due time', null, false],
  ])('%s', (_name, dueAt, isInside) => {
    expect(isInsideMargin(sampleConnection({ refreshDueAt: dueAt }), now)).toBe(isInside);
  });
});

describe('a refresh behind a valid token', () => {
  const due = { refreshDueAt: now };
  const later = secondsLater(60);
  const { app } = sampleConnection();
  it.each<[string, Parameters<typeof sampleConnection>[0], Date | null]>([
    ['may start at its due time', due, now],
    ['never, without one', { refreshDueAt: null }, null],
    ['waits for the next attempt', { ...due, nextAttemptAt: later }, later],
    ['does not wait for one that is over', { ...due, nextAttemptAt: secondsLater(-1) }, now],
    ['never, once disconnected', { ...due, deletedAt: now }, null],
    ['never, while paused', { ...due, pausedAt: now }, null],
    ['never, after a verdict', { ...due, verdict: 'revoked' }, null],
    ['never, without a refresh token', { ...due, hasRefreshToken: false }, null],
    ['may start while uncertain', { ...due, uncertainSince: now }, now],
    ['never, while its app is paused', { ...due, app: { ...app, pausedReason: 'x' } }, null],
    [
      'waits for the end of that pause',
      { ...due, app: { ...app, pausedReason: 'x', pausedUntil: later } },
      later,
    ],
    [
      'waits for the gate',
      { ...due, app: { ...app, closedUntil: later, closedReason: 'rate_limited' } },
      later,
    ],
  ])('%s', (_name, members, from) => {
    expect(refreshBehindFromMs(sampleConnection(members))).toBe(from?.getTime() ?? Infinity);
  });
});

describe('a demand', () => {
  const lapsed = { expiresAt: now };
  const almostLapsed = { expiresAt: secondsLater(0.001) };
  const sixtyLeft = { expiresAt: secondsLater(60) };
  it.each<[string, Parameters<typeof sampleConnection>[0], Demand, number, boolean]>([
    ['none, by a token that has not expired', almostLapsed, {}, 7, true],
    ['none, not by one that expires now', lapsed, {}, 7, false],
    ['none, by one that never expires', { expiresAt: null }, {}, 7, true],
    ['none, not where there is none', { hasAccessToken: false, expiresAt: null }, {}, 7, false],
    ['min_ttl, by as much left', sixtyLeft, { minTtlSeconds: 60 }, 7, true],
    ['min_ttl, not by less', sixtyLeft, { minTtlSeconds: 61 }, 7, false],
    [
      'min_ttl, by a token that never expires',
      { expiresAt: null },
      { minTtlSeconds: 86_400 },
      7,
      true,
    ],
    [
      'min_ttl, by a token stored since the call came',
      sixtyLeft,
      { minTtlSeconds: 86_400 },
      6,
      true,
    ],
    ['min_ttl, not by an expired one stored since', lapsed, { minTtlSeconds: 1 }, 6, false],
    [
      'min_ttl, by 80 % of the lifetime as issued',
      { ...sixtyLeft, lifetimeSeconds: 75 },
      { minTtlSeconds: 3_600 },
      7,
      true,
    ],
    [
      'min_ttl, not by less than that',
      { ...sixtyLeft, lifetimeSeconds: 76 },
      { minTtlSeconds: 3_600 },
      7,
      false,
    ],
    [
      'min_ttl as asked where the lifetime is not known',
      { ...sixtyLeft, lifetimeSeconds: null },
      { minTtlSeconds: 61 },
      7,
      false,
    ],
    ['a version, by one above', {}, { newerThan: 6 }, 6, true],
    ['a version, not by itself', {}, { newerThan: 7 }, 7, false],
    ['a version, not by one that has expired', lapsed, { newerThan: 6 }, 6, false],
    ['both, only together', sixtyLeft, { newerThan: 6, minTtlSeconds: 61 }, 7, false],
  ])('of %s', (_name, members, demand, versionAtArrival, isSatisfied) => {
    const connection = sampleConnection(members);
    expect(satisfiesDemand(connection, demand, versionAtArrival, now)).toBe(isSatisfied);
  });
});
