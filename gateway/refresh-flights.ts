import { LRUCache } from 'lru-cache';
import { TokenManagerError, type RefreshResult } from '../client/contract.ts';
import type { RefreshRequest } from '../connections/refresh-request.ts';
import type { RefreshEngine } from './refresh-engine.ts';

/** As long as one refreshToken Activity may take; callers wait 60 s at most and then find the row. */
const flightLimitMs = 75_000;
const flightsMax = 10_000;
/** Refreshes behind a valid token give way: they never take more than this part of the flights. */
const flightsMaxForBackground = 1_000;
/** A refresh behind a valid token that brought nothing is not asked for again before this. */
const backgroundPauseMs = 5_000;

/** Undefined: the run ended without a result, or outlived the flight; the row says what is stored. */
export type FlightOutcome = RefreshResult | undefined;

export interface RefreshFlights {
  /**
   * Joins the refresh of this connection that this process already waits for, or starts one. A caller
   * that stops waiting ends nothing. The promise rejects as RefreshEngine does; all who joined share
   * the outcome. Rejects with `overloaded` when too many refreshes are open.
   */
  join(request: RefreshRequest): Promise<FlightOutcome>;
  isRunning(connectionId: string): boolean;
  /** Starts a refresh that nobody waits for, unless one runs or a recent one brought nothing. */
  startBehind(request: RefreshRequest): void;
}

/** Single flight per connection and process in front of the engine, which does it per cluster. */
export function createRefreshFlights(dependencies: {
  refreshEngine: RefreshEngine;
  onJoined: () => void;
}): RefreshFlights {
  const { refreshEngine, onJoined } = dependencies;
  const flights = new Map<string, Promise<FlightOutcome>>();
  const restingBackground = new LRUCache<string, true>({
    max: flightsMax,
    ttl: backgroundPauseMs,
  });

  function start(request: RefreshRequest): Promise<FlightOutcome> {
    const flight = fly(refreshEngine, request).finally(() => flights.delete(request.connectionId));
    flights.set(request.connectionId, flight);
    // Every caller may have gone by the time it fails; those still there see it through join.
    flight.catch(() => undefined);
    return flight;
  }

  return {
    isRunning: (connectionId) => flights.has(connectionId),
    join(request) {
      const running = flights.get(request.connectionId);
      if (running !== undefined) {
        onJoined();
        return running;
      }
      if (flights.size < flightsMax) return start(request);
      const refused = Promise.reject(new TokenManagerError('overloaded'));
      refused.catch(() => undefined);
      return refused;
    },
    startBehind(request) {
      const { connectionId } = request;
      if (flights.has(connectionId) || restingBackground.has(connectionId)) return;
      if (flights.size >= flightsMaxForBackground) return;
      const rest = () => void restingBackground.set(connectionId, true);
      void start(request).then((result) => {
        if (result?.outcome !== 'refreshed') rest();
      }, rest);
    },
  };
}

async function fly(engine: RefreshEngine, request: RefreshRequest): Promise<FlightOutcome> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), flightLimitMs);
  timer.unref();
  try {
    return await engine.refresh(request, limit.signal);
  } catch (error) {
    if (limit.signal.aborted) return undefined;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
