import type { Logger } from '../platform/log.ts';

/** How soon a new, changed or released endpoint is served, and a run that was terminated begun again. */
const lookEveryMs = 5_000;
const trimEveryMs = 15 * 60_000;

export interface EventTending {
  close(): Promise<void>;
}

/**
 * Every 5 s begins the deliveries of each endpoint that has none under way, and every 15 minutes deletes old
 * events. Each worker does so: to begin what runs, or to delete what is gone, does nothing.
 */
export function tendEvents(dependencies: {
  /** Names of WEBHOOKS_FILE. */
  endpoints: () => string[];
  /** Names of those that are not parked. */
  enrol: (names: string[]) => Promise<string[]>;
  /** Begins the Workflow of an endpoint unless it runs. */
  begin: (name: string) => Promise<void>;
  /** Resolves with how many events were deleted; 0: there are no more. */
  trim: () => Promise<number>;
  monotonicMs: () => number;
  /** Resolves after that long; rejects when the signal is aborted. */
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  log: Pick<Logger, 'warn'>;
}): EventTending {
  const { endpoints, enrol, begin, trim, monotonicMs, sleep, log } = dependencies;
  const closing = new AbortController();
  let trimAtMs = monotonicMs() + trimEveryMs;

  async function look(): Promise<void> {
    const names = endpoints();
    const served = names.length === 0 ? [] : await enrol(names);
    for (const name of served) await begin(name);
    if (monotonicMs() < trimAtMs) return;
    trimAtMs = monotonicMs() + trimEveryMs;
    while (!closing.signal.aborted && (await trim()) > 0);
  }

  async function keepLooking(): Promise<void> {
    while (!closing.signal.aborted) {
      await look().catch((error: unknown) => {
        log.warn({ err: error }, 'webhook deliveries could not be begun; they are tried again');
      });
      await sleep(lookEveryMs, closing.signal).catch(() => undefined);
    }
  }

  const ended = keepLooking();
  return {
    async close() {
      closing.abort();
      await ended;
    },
  };
}
