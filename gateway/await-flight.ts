import type { FlightOutcome } from './refresh-flights.ts';

export type FlightEnding =
  | { kind: 'ended'; outcome: FlightOutcome }
  | { kind: 'failed'; error: unknown }
  /** A token was stored meanwhile; the flight goes on. */
  | { kind: 'arrived' }
  | { kind: 'deadline' }
  | { kind: 'abandoned' };

/** One caller's wait for a flight: it ends at the caller's deadline or abort, the flight does not. */
export function awaitFlight(
  flight: Promise<FlightOutcome>,
  wait: {
    ms: number;
    signal: AbortSignal;
    /** Takes what ends the wait as its deadline would. */
    onEnd?: (end: () => void) => void;
    /** Takes what is called once a token was stored; returns how to take that back. */
    onArrival?: (arrived: () => void) => () => void;
  },
): Promise<FlightEnding> {
  const { ms, signal, onEnd, onArrival } = wait;
  return new Promise((resolve) => {
    const end = (ending: FlightEnding) => {
      clearTimeout(timer);
      forget?.();
      signal.removeEventListener('abort', abandon);
      resolve(ending);
    };
    const abandon = () => end({ kind: 'abandoned' });
    const timer = setTimeout(() => end({ kind: 'deadline' }), ms);
    const forget = onArrival?.(() => end({ kind: 'arrived' }));
    onEnd?.(() => end({ kind: 'deadline' }));
    signal.addEventListener('abort', abandon, { once: true });
    if (signal.aborted) abandon();
    flight.then(
      (outcome) => end({ kind: 'ended', outcome }),
      (error: unknown) => end({ kind: 'failed', error }),
    );
  });
}
