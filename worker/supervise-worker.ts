import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';

const pauseMinMs = 1_000;
const pauseMaxMs = 30_000;
/** A worker that polled this long begins again at the shortest pause. */
const steadyMs = 60_000;

export interface PollingWorker {
  /** Settles when the worker has stopped; rejects if it could not go on. */
  running: Promise<void>;
  /** Takes nothing new and lets `running` settle when the work in hand is done. */
  shutdown(): void;
  /** What is to be closed after that. */
  release(): Promise<void>;
}

export interface WorkerSupervisor {
  /**
   * Resolves when the first worker polls, or cannot yet and is tried again; rejects with what trying
   * again does not heal.
   */
  firstAttempt: Promise<void>;
  /** Settles after `close`; rejects with what trying again does not heal. */
  running: Promise<void>;
  isPolling: () => boolean;
  /** Lets the worker end its work and creates no other. Closing again awaits the same end. */
  close(): Promise<void>;
}

/**
 * Keeps one worker polling: when it cannot be created, or ends by itself, another is created after 1 s,
 * doubling to 30 s. `startWorker` makes whatever a dead one may have taken along, its connection too.
 */
export function superviseWorker(dependencies: {
  startWorker: () => Promise<PollingWorker>;
  /** Whether another attempt may succeed where the first failed with this. */
  mayHeal: (error: unknown) => boolean;
  clock: Clock;
  /** Resolves after that long; rejects when the signal is aborted. */
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  log: Pick<Logger, 'info' | 'warn' | 'error'>;
}): WorkerSupervisor {
  const { startWorker, mayHeal, clock, sleep, log } = dependencies;
  const stopping = new AbortController();
  let reportFirst: (attempt: Promise<void>) => void = () => undefined;
  const firstAttempt = new Promise<void>((resolve) => (reportFirst = resolve));
  // It is told by `running` too, for those who do not wait for the first attempt.
  firstAttempt.catch(() => undefined);
  const isStopping = () => stopping.signal.aborted;
  let polling: PollingWorker | undefined;
  let isFirstAttempt = true;
  let pauseMs = pauseMinMs;

  /** Throws what kept the worker from starting or going on. */
  async function pollOnce(): Promise<void> {
    const worker = await startWorker();
    isFirstAttempt = false;
    const startedAtMs = clock.monotonicMs();
    polling = worker;
    reportFirst(Promise.resolve());
    if (isStopping()) worker.shutdown();
    try {
      await worker.running;
    } finally {
      polling = undefined;
      if (clock.monotonicMs() - startedAtMs >= steadyMs) pauseMs = pauseMinMs;
      await worker.release().catch((error: unknown) => {
        log.warn({ err: error }, 'what a worker has left could not be closed');
      });
    }
  }

  async function supervise(): Promise<void> {
    while (!isStopping()) {
      try {
        await pollOnce();
        if (isStopping()) return;
        log.error('the worker has ended by itself');
      } catch (error) {
        if (isStopping()) {
          log.error({ err: error }, 'the worker did not end in good order');
          return;
        }
        if (isFirstAttempt && !mayHeal(error)) throw error;
        isFirstAttempt = false;
        reportFirst(Promise.resolve());
        log.warn(
          { err: error, next_try_seconds: pauseMs / 1_000 },
          'the worker does not poll; Temporal is away or refuses it',
        );
      }
      await sleep(pauseMs, stopping.signal).catch(() => undefined);
      pauseMs = Math.min(2 * pauseMs, pauseMaxMs);
    }
  }

  const running = supervise();
  void running.catch((error: unknown) => reportFirst(Promise.reject(error as Error)));
  return {
    firstAttempt,
    running,
    isPolling: () => polling !== undefined,
    async close() {
      stopping.abort();
      polling?.shutdown();
      // Whoever awaits `running` learns of a failure; here only the end matters.
      await running.catch(() => undefined);
    },
  };
}
