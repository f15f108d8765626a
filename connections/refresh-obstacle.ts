import {
  TokenManagerError,
  type ProblemCode,
  type RefreshOutcome,
  type RefreshTrigger,
  type WaitingReason,
} from '../client/contract.ts';
import {
  appWaitingReason,
  holdsValidToken,
  isRefreshable,
  reauthorizationReason,
  waitingReason,
  type Connection,
} from './connection.ts';
import { isInsideMargin } from './freshness.ts';

const waitingProblems: Record<WaitingReason, ProblemCode> = {
  app_misconfigured: 'app_misconfigured',
  egress_refused: 'egress_refused',
  rate_limited: 'provider_rate_limited',
  provider_unavailable: 'provider_unavailable',
  provider_answer_unusable: 'provider_answer_unusable',
  key_service_unavailable: 'key_service_unavailable',
};

/** An uncertain connection that nothing is due for is asked about again after this. */
const uncertainRetryAfterSeconds = 5;

/**
 * What stands between this connection and a refresh, as the stored row alone tells it; undefined when
 * one may be asked for. It binds every demand, force included: nothing overrides a provider's limit. Only
 * a refused token (trigger `rejected`) hastens what an uncertain connection waits for.
 */
export function refreshObstacle(
  connection: Connection,
  now: Date,
  trigger?: RefreshTrigger,
): TokenManagerError | undefined {
  const { id: connectionId } = connection;
  if (connection.deletedAt !== null) return new TokenManagerError('connection_not_found');
  if (connection.pausedAt !== null)
    return new TokenManagerError('connection_paused', { connectionId });
  const reason = reauthorizationReason(connection, now);
  if (reason !== null) {
    return new TokenManagerError('reauthorization_required', { connectionId, reason });
  }
  if (!isRefreshable(connection))
    return new TokenManagerError('refresh_not_possible', { connectionId });

  const appReason = appWaitingReason(connection, now);
  if (appReason === 'app_misconfigured') {
    return new TokenManagerError('app_misconfigured', { connectionId });
  }
  const ownSeconds = secondsUntil(connection.nextAttemptAt, now);
  const appSeconds = appReason === null ? undefined : secondsUntil(connection.app.closedUntil, now);
  const waitSeconds = later(ownSeconds, appSeconds);
  if (connection.uncertainSince !== null) {
    const isResolvable =
      trigger === 'rejected' ||
      !holdsValidToken(connection, now) ||
      isInsideMargin(connection, now);
    if (waitSeconds === undefined && isResolvable) return undefined;
    return uncertain(connection, waitSeconds ?? secondsUntil(connection.refreshDueAt, now));
  }
  if (appReason !== null && waitSeconds === appSeconds) {
    return waitingProblem(connection, appReason, waitSeconds);
  }
  return waitSeconds === undefined ? undefined : storedProblem(connection, waitSeconds);
}

/** Why a run that ended with this outcome left no token that satisfies; the row was read after it. */
export function problemAfterRun(
  outcome: RefreshOutcome,
  connection: Connection,
  now: Date,
): TokenManagerError {
  const obstacle = refreshObstacle(connection, now);
  if (obstacle !== undefined) return obstacle;
  switch (outcome) {
    case 'uncertain':
      return uncertain(connection, undefined);
    case 'waiting':
      return storedProblem(connection, undefined);
    case 'app_misconfigured':
      return new TokenManagerError('app_misconfigured', { connectionId: connection.id });
    case 'refreshed':
    case 'already_fresh':
    case 'reauthorization_required':
    case 'paused':
    case 'gone':
      // The row has changed since the run saw it (an import, a resume), so there is nothing to tell
      // but that asking again is worth while.
      return new TokenManagerError('refresh_in_progress', { connectionId: connection.id });
  }
}

/** Why a caller's time was up; `since` is the database's time at which the call arrived. */
export function problemAtDeadline(
  connection: Connection,
  since: Date,
  now: Date,
): TokenManagerError {
  const obstacle = refreshObstacle(connection, now);
  if (obstacle !== undefined) return obstacle;
  if (connection.uncertainSince !== null) return uncertain(connection, undefined);
  const failedMeanwhile = connection.failure !== null && connection.failure.at >= since;
  return failedMeanwhile
    ? storedProblem(connection, undefined)
    : new TokenManagerError('refresh_in_progress', { connectionId: connection.id });
}

/** The last failure as a problem. A wait without a recorded reason is our own pacing. */
function storedProblem(connection: Connection, waitSeconds: number | undefined): TokenManagerError {
  return waitingProblem(connection, waitingReason(connection.failure), waitSeconds);
}

function waitingProblem(
  connection: Connection,
  reason: WaitingReason | null,
  waitSeconds: number | undefined,
): TokenManagerError {
  return new TokenManagerError(reason === null ? 'refresh_in_progress' : waitingProblems[reason], {
    connectionId: connection.id,
    ...(waitSeconds !== undefined && { retryAfterSeconds: waitSeconds }),
  });
}

function uncertain(connection: Connection, waitSeconds: number | undefined): TokenManagerError {
  // The provider did answer, only not with tokens: that is what its operator has to know.
  if (connection.failure?.class === 'protocol_break') {
    return storedProblem(connection, waitSeconds ?? uncertainRetryAfterSeconds);
  }
  return new TokenManagerError('refresh_uncertain', {
    connectionId: connection.id,
    retryAfterSeconds: waitSeconds ?? uncertainRetryAfterSeconds,
  });
}

function secondsUntil(instant: Date | null, now: Date): number | undefined {
  if (instant === null || instant <= now) return undefined;
  return (instant.getTime() - now.getTime()) / 1_000;
}

function later(own: number | undefined, others: number | undefined): number | undefined {
  return own === undefined || others === undefined ? (own ?? others) : Math.max(own, others);
}
