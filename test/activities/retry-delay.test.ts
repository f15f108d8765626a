import { expect, test } from 'vitest';
import { retryDelayMs } from '../../activities/retry-delay.ts';

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
