import { ApplicationFailure } from '@temporalio/activity';
import {
  type EnsureFreshInput,
  type ProblemCode,
  type RefreshOutcome,
  type RefreshResult,
  type RefreshTrigger,
} from '../client/contract.ts';
import type { Connection } from '../connections/connection.ts';
import { satisfiesDemand, type Demand } from '../connections/freshness.ts';
import { refreshObstacle } from '../connections/refresh-obstacle.ts';
import type { RefreshRequest } from '../connections/refresh-request.ts';
import { readDemand } from '../connections/token-demand.ts';
import type { Clock } from '../platform/clock.ts';
import { resultOf } from './step-results.ts';

/** The Workflow schedules the Activity again after this, so that a slot is never held for longer. */
const waitMaxMs = 20_000;
/** A refresh that ended in success but not newer than the caller needs is followed by one more. */
const refreshesPerTurn = 2;
/** After refreshes that ended without bringing anything; whatever it was, it needs a moment. */
const fruitlessPauseMs = 1_000;
/** A refresh sleeps as long itself; whoever must wait longer is told so at once. */
const joinableWaitMaxSeconds = 30;

/** What the caller asked for against the row as it was found first; the Workflow keeps it. */
export interface Arrival {
  tokenVersion: number;
  /** What the row must satisfy to need no refresh. */
  wanted: Demand;
  /** What it must satisfy once a refresh was not possible or brought nothing. */
  accepted: Demand;
  trigger: RefreshTrigger;
}

/** Input of the Activity `awaitFreshToken`. */
export interface AwaitFreshTokenInput extends EnsureFreshInput {
  /** Null on the first turn. */
  arrival: Arrival | null;
}

export type AwaitStep =
  | { next: 'end'; result: RefreshResult }
  /** `afterMs` is 0 where the turn itself was a wait. */
  | { next: 'again'; afterMs: number; arrival: Arrival };

export interface WaitDependencies {
  /** From the primary, of whatever tenant: a namespace may cause refreshes, and reads no tokens. */
  readConnection: (connectionId: string) => Promise<Connection | undefined>;
  /**
   * Joins the refresh of the connection or starts one, and waits for it so long at most; one long poll for
   * all who wait in this process. An `outcome` of undefined: its run ended without a result, so that the
   * row says what is stored. The abort of the signal ends this wait only.
   */
  awaitRefresh: (
    refresh: RefreshRequest,
    waitMs: number,
    signal: AbortSignal,
  ) => Promise<
    | { kind: 'ended'; outcome: RefreshResult | undefined }
    | { kind: 'failed'; error: unknown }
    | { kind: 'deadline' }
    /** A token was stored meanwhile. */
    | { kind: 'arrived' }
    | { kind: 'abandoned' }
  >;
  clock: Pick<Clock, 'monotonicMs'>;
}

/**
 * One turn of waiting for a token that satisfies the demand: the row alone where it does already, else the
 * refresh that runs or a new one. `stopped` ends the turn early, never the refresh.
 */
export async function awaitFreshToken(
  dependencies: WaitDependencies,
  input: AwaitFreshTokenInput,
  call: { traceparent: string; stopped: AbortSignal },
): Promise<AwaitStep> {
  const { readConnection, awaitRefresh, clock } = dependencies;
  const endsAtMs = clock.monotonicMs() + waitMaxMs;
  let connection = await readConnection(input.connectionId);
  if (connection === undefined) return gone(input);
  const arrival = input.arrival ?? arrivalOf(input, connection);
  const end = (outcome: RefreshOutcome, of: Connection): AwaitStep => ({
    next: 'end',
    result: resultOf(of, outcome),
  });
  for (let awaited = 0; awaited < refreshesPerTurn; awaited += 1) {
    // The refresh that was waited for may have brought less than is wanted, but enough.
    const demand = awaited === 0 ? arrival.wanted : arrival.accepted;
    if (isSatisfied(connection, demand, arrival))
      return end(freshness(connection, arrival), connection);
    const obstacle = obstacleOutcome(connection, arrival.trigger);
    if (obstacle !== undefined) return end(settled(obstacle, connection, arrival), connection);

    const ending = await awaitRefresh(
      {
        connectionId: connection.id,
        tenantId: connection.tenantId,
        provider: connection.provider,
        newerThan: arrival.tokenVersion,
        trigger: arrival.trigger,
        requestedAt: connection.readAt,
        traceparent: call.traceparent,
      },
      endsAtMs - clock.monotonicMs(),
      call.stopped,
    );
    if (ending.kind === 'failed') throw ending.error;
    if (ending.kind !== 'ended') return { next: 'again', afterMs: 0, arrival };

    connection = await readConnection(input.connectionId);
    if (connection === undefined) return gone(input);
    const { outcome: result } = ending;
    const isSuccess = result?.outcome === 'refreshed' || result?.outcome === 'already_fresh';
    // A run that others had started knew nothing of a refused token, which lets it act at once.
    const mayHasten = result?.outcome === 'uncertain' && arrival.trigger === 'rejected';
    if (result === undefined || isSuccess || mayHasten) continue;
    return end(settled(result.outcome, connection, arrival), connection);
  }
  if (isSatisfied(connection, arrival.accepted, arrival)) {
    return end(freshness(connection, arrival), connection);
  }
  return { next: 'again', afterMs: fruitlessPauseMs, arrival };
}

function arrivalOf(input: EnsureFreshInput, connection: Connection): Arrival {
  const { minTtlSeconds, newerThan, rejectedTokenVersion } = input;
  const { tokenVersion } = connection;
  for (const [name, version] of Object.entries({ newerThan, rejectedTokenVersion })) {
    if (version === undefined || version <= tokenVersion) continue;
    throw ApplicationFailure.nonRetryable(
      `${name} is ${version}, ahead of the current token version, ${tokenVersion}`,
      'input_validation',
    );
  }
  const { wanted, accepted, trigger } = readDemand(
    {
      ifDue: true,
      ...(minTtlSeconds !== undefined && { minTtlSeconds }),
      ...(newerThan !== undefined && { minTokenVersion: newerThan + 1 }),
      ...(rejectedTokenVersion !== undefined && { rejectedTokenVersion }),
    },
    connection,
    connection.readAt,
  );
  return {
    tokenVersion,
    wanted,
    accepted,
    trigger: trigger === 'rejected' ? 'rejected' : 'workflow',
  };
}

function isSatisfied(connection: Connection, demand: Demand, { tokenVersion }: Arrival): boolean {
  return (
    connection.deletedAt === null &&
    satisfiesDemand(connection, demand, tokenVersion, connection.readAt)
  );
}

function freshness({ tokenVersion }: Connection, arrival: Arrival): RefreshOutcome {
  return tokenVersion > arrival.tokenVersion ? 'refreshed' : 'already_fresh';
}

/** A refresh cannot be had: the stored token may do all the same. */
function settled(
  outcome: RefreshOutcome,
  connection: Connection,
  arrival: Arrival,
): RefreshOutcome {
  return isSatisfied(connection, arrival.accepted, arrival)
    ? freshness(connection, arrival)
    : outcome;
}

function gone({ connectionId }: EnsureFreshInput): AwaitStep {
  return {
    next: 'end',
    result: { connectionId, outcome: 'gone', tokenVersion: 0, expiresAt: null },
  };
}

const outcomesOfProblems: Partial<Record<ProblemCode, RefreshOutcome>> = {
  connection_not_found: 'gone',
  connection_paused: 'paused',
  reauthorization_required: 'reauthorization_required',
  // Nothing but new credentials brings a token that satisfies.
  refresh_not_possible: 'reauthorization_required',
  app_misconfigured: 'app_misconfigured',
  egress_refused: 'app_misconfigured',
  refresh_uncertain: 'uncertain',
};

/** Why no refresh is started, as the row alone tells; undefined: one is to be started or joined. */
function obstacleOutcome(
  connection: Connection,
  trigger: RefreshTrigger,
): RefreshOutcome | undefined {
  const obstacle = refreshObstacle(connection, connection.readAt, trigger);
  if (obstacle === undefined) return undefined;
  const outcome = outcomesOfProblems[obstacle.code] ?? 'waiting';
  const { retryAfterSeconds = Infinity } = obstacle;
  return outcome === 'waiting' && retryAfterSeconds <= joinableWaitMaxSeconds ? undefined : outcome;
}
