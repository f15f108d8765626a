import { TokenManagerError } from '../client/contract.ts';
import type { Clock } from '../platform/clock.ts';

type Flights<Result> = (name: string, call: () => Promise<Result>) => Promise<Result>;

/** One call per name at a time: whoever asks while it runs gets its outcome, success or failure. */
export function createSingleFlight<Result>(): Flights<Result> {
  const running = new Map<string, Promise<Result>>();
  return (name, call) => {
    const joined = running.get(name);
    if (joined !== undefined) return joined;
    const started = call().finally(() => running.delete(name));
    running.set(name, started);
    return started;
  };
}

/** Callers do not wait for a deadline each, and a service that comes back is not met by all at once. */
const failedForMs = 1_000;
/** Failures that are remembered; they are of data keys, which are few. */
const failuresMax = 1_000;

/** The same, and who asks within a second of a failure of the key service gets that failure. */
export function createPacedFlight<Result>(clock: Clock): Flights<Result> {
  const fly = createSingleFlight<Result>();
  const failures = new Map<string, { error: TokenManagerError; untilMs: number }>();
  return async (name, call) => {
    const failed = failures.get(name);
    if (failed !== undefined && clock.monotonicMs() < failed.untilMs) throw failed.error;
    return fly(name, async () => {
      failures.delete(name);
      try {
        return await call();
      } catch (error) {
        if (error instanceof TokenManagerError && error.code === 'key_service_unavailable') {
          if (failures.size >= failuresMax) failures.clear();
          failures.set(name, { error, untilMs: clock.monotonicMs() + failedForMs });
        }
        throw error;
      }
    });
  };
}
