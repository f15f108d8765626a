import { describe, expect, it } from 'vitest';
import { createDatabaseClock } from '../../platform/clock.ts';

const databaseNow = new Date('2026-11-23T12:00:00.000Z');

/** A process whose wall clock is wrong by so much, and whose monotonic clock counts from 5,000. */
function processWrongBy(wrongByMs: number) {
  let elapsedMs = 5_000;
  let wallMs = databaseNow.getTime() + wrongByMs;
  return {
    clock: { monotonicMs: () => elapsedMs, wallMs: () => wallMs },
    pass(ms: number) {
      elapsedMs += ms;
      wallMs += ms;
    },
    setWall(ms: number) {
      wallMs = ms;
    },
  };
}

describe('the clock that decides', () => {
  it.each([0, 3_600_000, -3_600_000])(
    'is the database’s in every process, though its own is wrong by %d ms',
    (wrongByMs) => {
      const process = processWrongBy(wrongByMs);
      const clock = createDatabaseClock(process.clock);
      clock.observe(databaseNow, process.clock.monotonicMs());
      expect(clock.now()).toEqual(databaseNow);
      process.pass(1_500);
      expect(clock.now().getTime() - databaseNow.getTime()).toBe(1_500);
    },
  );

  it('takes no notice of a wall clock that is set', () => {
    const process = processWrongBy(0);
    const clock = createDatabaseClock(process.clock);
    clock.observe(databaseNow, process.clock.monotonicMs());
    process.setWall(0);
    expect(clock.now()).toEqual(databaseNow);
  });

  it('runs ahead by the time a query took, never behind', () => {
    const process = processWrongBy(0);
    const clock = createDatabaseClock(process.clock);
    const startedAtMs = process.clock.monotonicMs();
    process.pass(200);
    clock.observe(databaseNow, startedAtMs);
    expect(clock.now().getTime() - databaseNow.getTime()).toBe(200);
  });
});
