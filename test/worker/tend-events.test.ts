import { expect, it } from 'vitest';
import { tendEvents } from '../../worker/tend-events.ts';

/** Looks as often as the test lets it, on a clock that the test moves. */
function tend(changes: Partial<Parameters<typeof tendEvents>[0]> = {}) {
  const begun: string[] = [];
  const warnings: unknown[] = [];
  let nowMs = 0;
  let wake = (): void => undefined;
  let trims = 0;
  const tending = tendEvents({
    endpoints: () => ['one', 'two'],
    enrol: (names) => Promise.resolve(names.filter((name) => name !== 'two')),
    begin: (name) => {
      begun.push(name);
      return Promise.resolve();
    },
    trim: () => Promise.resolve((trims += 1) % 3 === 0 ? 0 : 10),
    monotonicMs: () => nowMs,
    sleep: (_ms, signal) =>
      new Promise((resolve, reject) => {
        wake = resolve;
        signal.addEventListener('abort', () => reject(new Error('aborted')));
      }),
    log: { warn: (...line: unknown[]) => void warnings.push(line) },
    ...changes,
  });
  return {
    begun,
    warnings,
    trims: () => trims,
    close: () => tending.close(),
    async look(afterMs = 5_000) {
      await new Promise((resolve) => setImmediate(resolve));
      nowMs += afterMs;
      wake();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

it('begins the deliveries of the endpoints that are not parked, again and again', async () => {
  const tended = tend();
  await tended.look();
  await tended.look();
  await tended.close();
  expect(tended.begun).toEqual(['one', 'one', 'one']);
  expect(tended.trims()).toBe(0);
});

it('deletes old events every quarter of an hour until there are no more', async () => {
  const tended = tend({ endpoints: () => [] });
  await tended.look(14 * 60_000);
  expect(tended.trims()).toBe(0);
  await tended.look(60_000);
  expect(tended.trims()).toBe(3);
  await tended.look();
  expect(tended.trims()).toBe(3);
  await tended.close();
  expect(tended.begun).toEqual([]);
});

it('goes on after the database was away', async () => {
  let isAway = true;
  const tended = tend({
    enrol: () => (isAway ? Promise.reject(new Error('away')) : Promise.resolve(['one'])),
  });
  await tended.look();
  isAway = false;
  await tended.look();
  await tended.close();
  expect(tended.warnings.length).toBeGreaterThan(0);
  expect(tended.begun.length).toBeGreaterThan(0);
});
