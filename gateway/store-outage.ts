import { TokenManagerError } from '../client/contract.ts';
import type { Clock } from '../platform/clock.ts';

/** How long a failed read speaks for the next ones. */
const memoryMs = 1_000;
/** As long as the pool tries to connect; an established connection that hangs gets no longer. */
const readLimitMs = 2_000;
/** What failed sooner was refused or cut off, which one connection's end explains: asked once more. */
const cutOffMs = 500;

export interface StoreOutage {
  /**
   * Runs a read. After one that found the store away the next ones fail at once for a second; then one
   * asks again, and while it does the rest still fail at once, so that callers with the store away do
   * not each wait for its time limit. Throws `store_unavailable`, also when a read takes 2 s, and what
   * the read throws.
   */
  guard<Result>(read: () => Promise<Result>): Promise<Result>;
  /** Throws as `guard` would for those who come while another asks: for joining its read. */
  refuseIfAway(): void;
}

export function createStoreOutage(clock: Clock): StoreOutage {
  /** Undefined: the last read that came back found the store there. */
  let askAgainAtMs: number | undefined;
  let lastFoundMs = -Infinity;

  async function attempt<Result>(read: () => Promise<Result>, mayRepeat: boolean): Promise<Result> {
    const startedMs = clock.monotonicMs();
    try {
      return await withinLimit(read());
    } catch (error) {
      const wasCutOff = isAway(error) && clock.monotonicMs() - startedMs < cutOffMs;
      if (!wasCutOff || !mayRepeat) throw error;
      return attempt(read, false);
    }
  }

  function foundIt(): void {
    askAgainAtMs = undefined;
    lastFoundMs = clock.monotonicMs();
  }

  function refuseIfAway(): void {
    if (askAgainAtMs !== undefined && clock.monotonicMs() < askAgainAtMs) throw away();
  }

  return {
    refuseIfAway,
    async guard(read) {
      refuseIfAway();
      const startedMs = clock.monotonicMs();
      const isProbe = askAgainAtMs !== undefined;
      // Until this one is back, which its limit sees to.
      if (isProbe) askAgainAtMs = Infinity;
      try {
        const result = await attempt(read, !isProbe);
        foundIt();
        return result;
      } catch (error) {
        if (!isAway(error)) foundIt();
        // A read that began later and came back knows better than one that waited in vain.
        else if (lastFoundMs <= startedMs) askAgainAtMs = clock.monotonicMs() + memoryMs;
        throw error;
      }
    },
  };
}

async function withinLimit<Result>(reading: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(away()), readLimitMs);
  });
  try {
    return await Promise.race([reading, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

function isAway(error: unknown): boolean {
  return error instanceof TokenManagerError && error.code === 'store_unavailable';
}

function away(): TokenManagerError {
  return new TokenManagerError('store_unavailable', { retryAfterSeconds: memoryMs / 1_000 });
}
