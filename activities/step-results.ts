import type { RefreshOutcome, RefreshResult } from '../client/contract.ts';
import type { Connection } from '../connections/connection.ts';
import type {
  ExchangeSubject,
  Postponement,
  Settlement,
  Verdict,
} from '../connections/exchange.ts';
import type { AmbiguousAttempt, RefreshStep, RefreshTokenInput } from './refresh-step.ts';

const storeAwayRetryMs = 1_000;

/** A reference to what is stored, never a token. */
export function resultOf(connection: Connection, outcome: RefreshOutcome): RefreshResult {
  return {
    connectionId: connection.id,
    outcome,
    tokenVersion: connection.tokenVersion,
    expiresAt: connection.expiresAt?.toISOString() ?? null,
  };
}

/** There is no such connection, or it is deleted. */
export function goneStep({ connectionId, newerThan }: RefreshTokenInput): RefreshStep {
  return {
    next: 'end',
    result: { connectionId, outcome: 'gone', tokenVersion: newerThan ?? 0, expiresAt: null },
  };
}

/** The store did not answer, so nothing is known of the row; the Workflow asks again. */
export function storeAwayStep(
  input: RefreshTokenInput,
  unsettled: Settlement | Verdict | null,
  afterMs = storeAwayRetryMs,
): RefreshStep {
  const result = {
    connectionId: input.connectionId,
    outcome: 'waiting',
    tokenVersion: input.newerThan ?? 0,
    expiresAt: null,
  } as const;
  return { next: 'again', afterMs, unsettled, result };
}

/** Nothing stands against the refresh but time. */
export function waitStep(subject: ExchangeSubject, afterMs: number): RefreshStep {
  const result = resultOf(subject.connection, 'waiting');
  return { next: 'again', afterMs, unsettled: null, result };
}

/** A recorded failure: a verdict and a misconfigured app end the run, the rest is tried again. */
export function afterFailure(
  subject: ExchangeSubject,
  failure: Postponement | Settlement | Verdict,
): RefreshStep {
  switch (failure.class) {
    case 'permanent':
      return { next: 'end', result: resultOf(subject.connection, 'reauthorization_required') };
    case 'misconfigured':
      return { next: 'end', result: resultOf(subject.connection, 'app_misconfigured') };
    case 'transient':
    case 'ambiguous':
    case 'rate_limited':
    case 'protocol_break':
      return waitStep(subject, failure.retryAfterMs);
  }
}

/** Somebody's attempt ended without anybody knowing how. */
export function resolveStep(subject: ExchangeSubject, ambiguous: AmbiguousAttempt): RefreshStep {
  return { next: 'resolve', ambiguous, result: resultOf(subject.connection, 'uncertain') };
}
