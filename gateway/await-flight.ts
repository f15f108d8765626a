import type { FlightOutcome } from './refresh-flights.ts';

export type FlightEnding =
  | { kind: 'ended'; outcome: FlightOutcome }
  | { kind: 'failed'; error: unknown }
  | { kind: 'deadline' }
  | { kind: 'abandoned' };

/** One caller's wait for a flight: it ends at the caller's deadline or abort, the flight does not. */
export function awaitFlight(
  flight: Promise<FlightOutcome>,
  waitMs: number,
  signal: AbortSignal,
  /** Takes what ends the wait as its deadline would. */
  onEnd: (end: () => void) => void,
): Promise<FlightEnding> {
  return new Promise((resolve) => {
    const end = (ending: FlightEnding) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abandon);
      resolve(ending);
    };
    const abandon = () => end({ kind: 'abandoned' });
    const timer = setTimeout(() => end({ kind: 'deadline' }), waitMs);
    onEnd(() => end({ kind: 'deadline' }));
    signal.addEventListener('abort', abandon, { once: true });
    if (signal.aborted) abandon();
    flight.then(
      (outcome) => end({ kind: 'ended', outcome }),
      (error: unknown) => end({ kind: 'failed', error }),
    );
  });
}
