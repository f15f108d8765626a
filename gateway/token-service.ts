import { TokenManagerError } from '../client/contract.ts';
import type { Connection } from '../connections/connection.ts';
import { forcedRefreshWaitMs, isForcedRefresh } from '../connections/forced-refreshes.ts';
import { refreshBehindFromMs, satisfiesDemand, type Demand } from '../connections/freshness.ts';
import {
  problemAfterRun,
  problemAtDeadline,
  refreshObstacle,
} from '../connections/refresh-obstacle.ts';
import type { RefreshRequest } from '../connections/refresh-request.ts';
import type { VisibleTenants } from '../connections/registry.ts';
import {
  isEnoughUnread,
  readDemand,
  type AskedDemand,
  type ReadDemand,
} from '../connections/token-demand.ts';
import type { Clock, DatabaseClock } from '../platform/clock.ts';
import { overloaded, type Admission } from './admission.ts';
import { isVisible } from './caller.ts';
import { awaitFlight, type FlightEnding } from './await-flight.ts';
import type { FlightOutcome, RefreshFlights } from './refresh-flights.ts';
import type { TokenArrivals } from './token-arrivals.ts';
import type { HeldToken, StoredToken, TokenCache } from './token-cache.ts';
import type { TokenText } from './token-text.ts';

/** A refresh that ended in success but not newer than the caller needs is followed by one more. */
const flightsPerCall = 2;

/** How long a caller waits who does not say, and at most. */
export const waitDefaultSeconds = 10;
export const waitMaxSeconds = 60;
export const minTtlMaxSeconds = 86_400;

export interface TokenRequest extends AskedDemand {
  connectionId: string;
  /** A connection of another tenant is as if it were not there. */
  visibleTo: VisibleTenants;
  /** Whether the caller may ask for a newer token than a valid one. */
  mayInsist: boolean;
  /** False for HEAD: answers from the row alone and starts nothing. */
  mayRefresh: boolean;
  /** A token that may trail the row by TOKEN_CACHE_SECONDS will do, so far as it satisfies the demand. */
  mayTrail: boolean;
  /** Nothing may be asked of PostgreSQL for it, for there are too many connections. */
  memoryOnly: boolean;
  /** Of the request, W3C Trace Context. */
  traceparent: string;
  /** 0 to 60, from the arrival of the call; 0 starts a refresh and answers at once. */
  waitSeconds: number;
  /** Aborted when the caller goes away; asked for once, and only if a refresh is needed. */
  callerSignal: () => AbortSignal;
}

export interface TokenAnswer {
  /** What is answered. */
  text: TokenText;
  /** The database's time that the answer was judged by. */
  now: Date;
  /** Whether the token is one that the call has waited for. */
  refreshed: boolean;
  /** `refresh`: the call waited for one; `stale`: PostgreSQL is away. */
  source: 'cache' | 'store' | 'refresh' | 'stale';
}

export interface TokenService {
  /**
   * What memory has is there at once. Rejects with every problem of docs/http.md, `store_unavailable`, `overloaded`,
   * `input_validation`.
   */
  readToken(request: TokenRequest): TokenAnswer | Promise<TokenAnswer>;
}

interface TokenServiceDependencies {
  tokenCache: TokenCache;
  flights: RefreshFlights;
  arrivals: TokenArrivals;
  admission: Admission;
  clock: Clock;
  databaseClock: DatabaseClock;
}

/** One call after its row was read. */
interface Call {
  request: TokenRequest;
  demand: ReadDemand;
  /** The database's time, and the version current, when the call arrived. */
  arrivedAt: Date;
  versionAtArrival: number;
  deadlineMs: number;
}

/**
 * Reads a token and, where the stored one does not satisfy the demand, has it refreshed first. Every
 * demand becomes one number, the token_version that is not enough, so that the callers of a connection
 * share one run whatever they asked for.
 */
export function createTokenService(dependencies: TokenServiceDependencies): TokenService {
  const { tokenCache, flights, arrivals, admission, clock, databaseClock } = dependencies;

  function readToken(request: TokenRequest): TokenAnswer | Promise<TokenAnswer> {
    return readMemory(request) ?? readBeyondMemory(request);
  }

  async function readBeyondMemory(request: TokenRequest): Promise<TokenAnswer> {
    if (request.memoryOnly) throw overloaded();
    return admission.work(() => readStored(request));
  }

  function readMemory(request: TokenRequest): TokenAnswer | undefined {
    const cached = request.mayTrail ? tokenCache.find(request.connectionId) : undefined;
    // Another tenant's entry is passed over: that it is in memory would show in the time of the answer.
    if (cached === undefined || !isVisible(cached.tenantId, request.visibleTo)) return undefined;
    const now = databaseClock.now();
    if (!isEnoughUnread(request, cached, now)) return undefined;
    refreshBehind(request, cached, cached.refreshBehindFromMs, now);
    return { text: cached.text, now, refreshed: false, source: 'cache' };
  }

  async function readStored(request: TokenRequest): Promise<TokenAnswer> {
    const deadlineMs = clock.monotonicMs() + request.waitSeconds * 1_000;
    let reading: StoredToken;
    try {
      reading = await readRow(request, request.mayTrail);
    } catch (error) {
      const stale = staleAnswer(request, error);
      if (stale === undefined) throw error;
      return stale;
    }
    const { connection } = reading;
    refuseInsisting(request, connection);
    const arrivedAt = databaseClock.now();
    const call: Call = {
      request,
      demand: readDemand(request, connection, arrivedAt),
      arrivedAt,
      versionAtArrival: connection.tokenVersion,
      deadlineMs,
    };
    if (isSatisfied(connection, call.demand.wanted, call)) {
      refreshBehind(request, connection, refreshBehindFromMs(connection), arrivedAt);
      return answer(reading, call, 'store');
    }
    const obstacle = refreshObstacle(connection, arrivedAt, call.demand.trigger);
    if (obstacle !== undefined) return settle(reading, call, 'store', obstacle);
    if (!request.mayRefresh) return settle(reading, call, 'store', inProgress(connection));
    return refreshFirst(reading, call);
  }

  /** P9: a valid token is served while PostgreSQL is away, unless a newer one is known to exist. */
  function staleAnswer(request: TokenRequest, error: unknown): TokenAnswer | undefined {
    if (!(error instanceof TokenManagerError) || error.code !== 'store_unavailable')
      return undefined;
    const stale = request.mayTrail ? tokenCache.findStale(request.connectionId) : undefined;
    if (stale === undefined) return undefined;
    if (!isVisible(stale.tenantId, request.visibleTo)) return undefined;
    const now = databaseClock.now();
    if (!isEnoughUnread(request, stale, now)) return undefined;
    return { text: stale.text, now, refreshed: false, source: 'stale' };
  }

  async function refreshFirst(arrival: StoredToken, call: Call): Promise<TokenAnswer> {
    let reading = arrival;
    // Once for the call, however often it waits: each signal listens for the end of its request.
    const signal = call.request.callerSignal();
    for (let flown = 0; flown < flightsPerCall; flown += 1) {
      const flight = joinFlight(call, reading.connection);
      let ending: FlightEnding;
      do {
        const waitMs = call.deadlineMs - clock.monotonicMs();
        if (waitMs <= 0) return settle(reading, call, 'store', inProgress(reading.connection));
        ending = await waitFor(flight, waitMs, call, signal);
        // Nobody reads this answer; it only ends the call.
        if (ending.kind === 'abandoned') throw inProgress(reading.connection);
        reading = await readRow(call.request, false);
        if (isSatisfied(reading.connection, call.demand.accepted, call))
          return answer(reading, call, 'refresh');
      } while (ending.kind === 'arrived');

      const { connection } = reading;
      const now = databaseClock.now();
      if (ending.kind === 'deadline') throw problemAtDeadline(connection, call.arrivedAt, now);
      if (ending.kind === 'failed') throw ending.error;
      const { outcome: result } = ending;
      const isSuccess = result?.outcome === 'refreshed' || result?.outcome === 'already_fresh';
      const isNewer = result !== undefined && result.tokenVersion > call.versionAtArrival;
      // A run that others had started knew nothing of a refused token, which lets it act at once.
      const mayHasten = result?.outcome === 'uncertain' && call.demand.trigger === 'rejected';
      if (result !== undefined && (!isSuccess || isNewer) && !mayHasten) {
        throw problemAfterRun(result.outcome, connection, now);
      }
      const obstacle = refreshObstacle(connection, now, call.demand.trigger);
      if (obstacle !== undefined) throw obstacle;
    }
    const { connection } = reading;
    throw refreshObstacle(connection, databaseClock.now()) ?? inProgress(connection);
  }

  function waitFor(
    flight: Promise<FlightOutcome>,
    ms: number,
    { request }: Call,
    signal: AbortSignal,
  ): Promise<FlightEnding> {
    const onArrival = (arrived: () => void) => arrivals.next(request.connectionId, arrived);
    return admission.wait((onEnd) => awaitFlight(flight, { ms, signal, onEnd, onArrival }));
  }

  /** Throws `refresh_limited`: callers who insist on a newer token than a valid one have a limit. */
  function joinFlight(call: Call, connection: Connection) {
    const { trigger } = call.demand;
    const now = databaseClock.now();
    if (!flights.isRunning(connection.id) && isForcedRefresh(connection, trigger, now)) {
      const waitMs = forcedRefreshWaitMs(connection, now);
      if (waitMs > 0) {
        throw new TokenManagerError('refresh_limited', {
          connectionId: connection.id,
          retryAfterSeconds: waitMs / 1_000,
        });
      }
    }
    const newerThan = call.versionAtArrival;
    return flights.join(
      refreshRequest(call.request, connection, {
        newerThan,
        trigger,
        requestedAt: call.arrivedAt,
      }),
    );
  }

  /** Past its due time but valid: answered now, and refreshed once per connection and process. */
  function refreshBehind(
    request: TokenRequest,
    token: RefreshedToken,
    fromMs: number,
    now: Date,
  ): void {
    if (!request.mayRefresh || fromMs > now.getTime()) return;
    flights.startBehind(
      refreshRequest(request, token, {
        newerThan: token.tokenVersion,
        trigger: 'background',
        requestedAt: now,
      }),
    );
  }

  /** With `mayTrail`, a row read just before the call will do if it satisfies the demand. */
  async function readRow(request: TokenRequest, mayTrail: boolean): Promise<StoredToken> {
    const { connectionId, visibleTo } = request;
    const maySee = (connection: Connection) => isVisible(connection.tenantId, visibleTo);
    const suffices = (connection: Connection) =>
      maySee(connection) && isEnoughUnread(request, connection, databaseClock.now());
    const reading = await tokenCache.read(connectionId, mayTrail ? suffices : undefined, maySee);
    if (reading?.connection.deletedAt !== null || !maySee(reading.connection)) {
      throw new TokenManagerError('connection_not_found', { connectionId });
    }
    return reading;
  }

  /** What is left once no refresh helps: the stored token if that will do, else the problem. */
  async function settle(
    reading: StoredToken,
    call: Call,
    source: TokenAnswer['source'],
    problem: TokenManagerError,
  ): Promise<TokenAnswer> {
    if (isSatisfied(reading.connection, call.demand.accepted, call))
      return answer(reading, call, source);
    throw problem;
  }

  function isSatisfied(connection: Connection, demand: Demand, call: Call): boolean {
    return satisfiesDemand(connection, demand, call.versionAtArrival, databaseClock.now());
  }

  async function answer(
    reading: StoredToken,
    call: Call,
    source: TokenAnswer['source'],
  ): Promise<TokenAnswer> {
    const text = await reading.text();
    const refreshed = reading.connection.tokenVersion > call.versionAtArrival;
    return { text, now: databaseClock.now(), refreshed, source };
  }

  return { readToken };
}

/** The next version cannot have been handed out: to ask for it is to force a refresh. */
function refuseInsisting({ mayInsist, minTokenVersion }: TokenRequest, connection: Connection) {
  if (mayInsist || minTokenVersion === undefined) return;
  if (minTokenVersion > connection.tokenVersion) {
    throw new TokenManagerError('forbidden', {
      detail: 'A min_token_version above the current one needs the scope tokens:refresh.',
      connectionId: connection.id,
    });
  }
}

/** What a refresh is asked for by. */
type RefreshedToken = Pick<HeldToken, 'tenantId' | 'provider' | 'tokenVersion'>;

function refreshRequest(
  { connectionId, traceparent }: TokenRequest,
  { tenantId, provider }: RefreshedToken,
  wanted: Pick<RefreshRequest, 'newerThan' | 'trigger' | 'requestedAt'>,
): RefreshRequest {
  return {
    connectionId,
    tenantId,
    provider,
    ...wanted,
    traceparent,
  };
}

function inProgress(connection: Connection): TokenManagerError {
  return new TokenManagerError('refresh_in_progress', { connectionId: connection.id });
}
