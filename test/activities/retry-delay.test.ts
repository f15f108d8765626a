import { describe, expect, it, test } from 'vitest';
import { retryDelayMs, unaskedDelayMs } from '../../activities/retry-delay.ts';

const rotation = { class: 'F', graceSeconds: null, oldAccessTokenDies: false } as const;
const failure = {
  class: 'transient',
  rotation,
  isReplay: false,
  failuresBefore: 0,
  retryAfterSeconds: null,
  fraction: 0.999_999,
} as const;

test.each([
  [0, 1_000],
  [1, 2_000],
  [5, 32_000],
  [6, 60_000],
  [400, 60_000],
])('after %d failures the back-off is at most %d ms', (failuresBefore, ms) => {
  expect(retryDelayMs({ ...failure, failuresBefore })).toBe(ms);
  expect(retryDelayMs({ ...failure, failuresBefore, fraction: 0 })).toBe(0);
});

test('Retry-After wins over the back-off', () => {
  expect(retryDelayMs({ ...failure, class: 'rate_limited', retryAfterSeconds: 7 })).toBe(7_000);
});

test('an app that needs work waits a minute', () => {
  expect(retryDelayMs({ ...failure, class: 'misconfigured' })).toBe(60_000);
});

test('a replay of class T waits no longer than a tenth of the grace', () => {
  const grace = { ...rotation, class: 'T', graceSeconds: 30 } as const;
  const late = { ...failure, rotation: grace, failuresBefore: 9 };
  expect(retryDelayMs({ ...late, class: 'ambiguous' })).toBe(3_000);
  expect(retryDelayMs({ ...late, isReplay: true })).toBe(3_000);
  expect(retryDelayMs(late)).toBe(60_000);
});

test('class C replays at once, for its replay is free', () => {
  const free = { ...rotation, class: 'C' } as const;
  expect(retryDelayMs({ ...failure, class: 'ambiguous', rotation: free })).toBe(0);
});

describe('until the sweep tries again', () => {
  const failing = { retryAfterMs: 1_000, failuresBefore: 0, expiresInMs: 0, fraction: 0 };

  it('it waits longer after each failure, to a quarter of an hour', () => {
    const delays = Array.from({ length: 10 }, (_, failuresBefore) =>
      unaskedDelayMs({ ...failing, failuresBefore }),
    );
    expect(delays.slice(0, 3)).toEqual([15_000, 30_000, 60_000]);
    expect(delays.at(-1)).toBe(450_000);
    expect(unaskedDelayMs({ ...failing, failuresBefore: 99, fraction: 1 })).toBe(900_000);
    // Not picked each minute: all of a day's tries of a provider that is away.
    const dayMs = 86_400_000;
    let tries = 0;
    for (let atMs = 0; atMs < dayMs; tries += 1) {
      atMs += unaskedDelayMs({ ...failing, failuresBefore: tries });
    }
    expect(tries).toBeLessThan(200);
  });

  it('it never comes before callers may', () => {
    expect(unaskedDelayMs({ ...failing, retryAfterMs: 3_600_000 })).toBe(3_600_000);
    const soon = { ...failing, retryAfterMs: 60_000, failuresBefore: 9, expiresInMs: 80_000 };
    expect(unaskedDelayMs(soon)).toBe(450_000);
  });

  it('it comes once more before the token expires', () => {
    expect(unaskedDelayMs({ ...failing, failuresBefore: 9, expiresInMs: 120_000 })).toBe(90_000);
    expect(unaskedDelayMs({ ...failing, failuresBefore: 9, expiresInMs: null })).toBe(450_000);
  });
});
