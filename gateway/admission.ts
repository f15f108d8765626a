import { TokenManagerError } from '../client/contract.ts';

/**
 * Requests that need more than memory, the waiting ones aside. A gateway reads some ten thousand rows a
 * second, for it reads them together: more than this would wait longer for PostgreSQL than a caller who
 * comes again.
 */
const workingMax = 8_000;
/** Callers who wait for a refresh; each costs little but its connection. */
const waitingMax = 8_000;
const retryAfterSeconds = 1;

export interface Admission {
  /** Runs with a place among those that need more than memory. Throws `overloaded` at once if none is free. */
  work<Result>(run: () => Promise<Result>): Promise<Result>;
  /**
   * Inside `work`: gives the place up while it waits. `run` gets a function that takes what ends the wait
   * before its time; that is called by `endWaiting`. Throws `overloaded` if too many wait.
   */
  wait<Result>(run: (onEnd: (end: () => void) => void) => Promise<Result>): Promise<Result>;
  /** The process ends: nobody waits any longer, nor will. */
  endWaiting(): void;
}

/** What a gateway takes on at once. Beyond it callers are told to come again, early and cheaply. */
export function createAdmission(
  limits: { workingMax?: number; waitingMax?: number } = {},
): Admission {
  const max = { working: workingMax, waiting: waitingMax };
  if (limits.workingMax !== undefined) max.working = limits.workingMax;
  if (limits.waitingMax !== undefined) max.waiting = limits.waitingMax;
  const under = { working: 0, waiting: 0 };
  const ends = new Set<() => void>();
  let isEnding = false;

  return {
    async work(run) {
      if (under.working >= max.working) throw overloaded();
      under.working += 1;
      try {
        return await run();
      } finally {
        under.working -= 1;
      }
    },
    async wait(run) {
      if (under.waiting >= max.waiting) throw overloaded();
      let end: (() => void) | undefined;
      under.waiting += 1;
      under.working -= 1;
      try {
        return await run((given) => {
          end = given;
          if (isEnding) given();
          else ends.add(given);
        });
      } finally {
        if (end !== undefined) ends.delete(end);
        under.waiting -= 1;
        under.working += 1;
      }
    },
    endWaiting() {
      isEnding = true;
      for (const end of ends) end();
    },
  };
}

export function overloaded(): TokenManagerError {
  return new TokenManagerError('overloaded', { retryAfterSeconds });
}
