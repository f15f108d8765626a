import { performance } from 'node:perf_hooks';

/** Two clocks of this process; neither decides whether a token is valid (see DatabaseClock). */
export interface Clock {
  /** Never goes back; counts from an arbitrary instant, in milliseconds. */
  monotonicMs(): number;
  /** The wall clock in milliseconds since 1970. Only the send limit compares it, to notice a pause. */
  wallMs(): number;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};

/**
 * The database's clock, which alone decides what has expired. Queries report what `now()` was; between
 * them it is carried forward by the monotonic clock of the process.
 */
export interface DatabaseClock {
  /** Take `now()` from a query; `startedAtMs` is the monotonic time before the query was sent. */
  observe(databaseNow: Date, startedAtMs: number): void;
  now(): Date;
}

/** Before the first observation it follows the wall clock of the process. */
export function createDatabaseClock(clock: Clock): DatabaseClock {
  let offsetMs = clock.wallMs() - clock.monotonicMs();
  return {
    observe(databaseNow, startedAtMs) {
      // now() was read between sending the query and its answer; counting from the sending makes
      // this clock run ahead rather than behind, so that no token is served past its end.
      offsetMs = databaseNow.getTime() - startedAtMs;
    },
    now: () => new Date(clock.monotonicMs() + offsetMs),
  };
}
