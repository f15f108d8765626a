import type {
  AttemptRecord,
  Claim,
  ExchangeSubject,
  RefreshIntent,
  Settlement,
  Verdict,
} from '../connections/exchange.ts';
import { validForMs } from '../connections/connection.ts';
import { isRefusedReplayLost, isReplayCounted } from '../oauth/ambiguity.ts';
import type { Failure } from '../oauth/failure-class.ts';
import type { ProviderDefinition } from '../oauth/provider-definition.ts';
import { settlingMs, type ProviderDeadlinesMs } from '../oauth/rotation.ts';
import type { AmbiguousAttempt, RefreshTokenInput } from './refresh-step.ts';
import { isInsideGrace, offeredProbe, resolveAmbiguity } from './resolve-ambiguity.ts';
import { retryDelayMs, unaskedDelayMs } from './retry-delay.ts';

/** So many failures in a row may be a bad minute of the provider. */
const promptReplays = 5;

/** An attempt whose answer brought no tokens. */
export interface EndedAttempt {
  input: RefreshTokenInput;
  subject: ExchangeSubject;
  /** The ambiguous intent that it replayed; null for a first send. */
  replay: RefreshIntent | null;
  claim: Claim;
  claimId: string;
  record: AttemptRecord;
  definition: ProviderDefinition;
  deadlinesMs: ProviderDeadlinesMs;
  /** A random number in [0, 1). */
  fraction: number;
}

export interface AttemptEnd {
  settlement: Settlement | Verdict;
  /** Whether an ambiguous attempt may be acted on as soon as its back-off is over. */
  decision: AmbiguousAttempt['decision'];
}

/** What is recorded of the attempt, and when it is tried again: pure, by the judgement of its answer. */
export function endOfAttempt(attempt: EndedAttempt, failure: Failure): AttemptEnd {
  switch (failure.class) {
    case 'permanent':
      return { settlement: verdictOf(attempt, failure), decision: 'uncertain' };
    case 'ambiguous':
      return openEnd(attempt, failure.class, failure);
    case 'protocol_break':
      if (mayBeSpent(attempt, failure)) return openEnd(attempt, failure.class, failure);
      return knownEnd(attempt, failure.class, failure);
    case 'transient':
    case 'misconfigured':
    case 'rate_limited':
      return knownEnd(attempt, failure.class, failure);
  }
}

/** An answer that proves that nothing was spent. */
function knownEnd(
  attempt: EndedAttempt,
  failureClass: Settlement['class'],
  failure: Failure,
): AttemptEnd {
  const retryAfterMs = delayAfter(attempt, failureClass, failure);
  return {
    settlement: settlementOf(attempt, {
      class: failureClass,
      code: failure.code,
      isFateOpen: false,
      isReplayCounted: false,
      retryAfterMs,
      refreshDueAfterMs: unaskedAfter(attempt, retryAfterMs),
    }),
    decision: 'uncertain',
  };
}

/** A success without tokens and without an error: a token that works once may have been used up by it. */
function mayBeSpent({ definition }: EndedAttempt, { code }: Failure): boolean {
  const namesNoError = code.startsWith('http_2');
  return namesNoError && isRefusedReplayLost(definition.rotation);
}

/** The provider's own verdict, unless this provider has to say it twice. */
function verdictOf(attempt: EndedAttempt, failure: Failure): Settlement | Verdict {
  const { subject, replay, definition } = attempt;
  const { confirmAfterSeconds } = definition.ambiguity;
  const before = subject.connection.failure;
  const isConfirmed = before?.class === 'transient' && before.code === failure.code;
  if (confirmAfterSeconds !== null && !isConfirmed) {
    const retryAfterMs = 1_000 * confirmAfterSeconds;
    return settlementOf(attempt, {
      class: 'transient',
      code: failure.code,
      isFateOpen: false,
      isReplayCounted: false,
      retryAfterMs,
      refreshDueAfterMs: retryAfterMs,
    });
  }
  const isLost =
    replay !== null && failure.reason === 'revoked' && isRefusedReplayLost(definition.rotation);
  const endsAt = subject.refreshTokenExpiresAt;
  const isPastEnd = endsAt !== null && endsAt <= subject.connection.readAt;
  return {
    ...identityOf(attempt),
    class: 'permanent',
    code: failure.code,
    reason: isLost ? 'lost_rotation' : isPastEnd ? 'expired' : (failure.reason ?? 'refused'),
  };
}

/** Sent, and no usable answer: the rotation class says what follows, and when. */
function openEnd(
  attempt: EndedAttempt,
  failureClass: 'ambiguous' | 'protocol_break',
  failure: Failure,
): AttemptEnd {
  const { input, subject, replay, claim, definition, deadlinesMs } = attempt;
  const now = subject.connection.readAt;
  // A complete answer, however useless, is none of those that were lost.
  const isCounted =
    failureClass === 'ambiguous' &&
    replay !== null &&
    isReplayCounted(
      definition.rotation,
      isInsideGrace({ intent: replay, definition, deadlinesMs, now }),
    );
  const intent = {
    replays: (replay?.replays ?? 0) + (isCounted ? 1 : 0),
    firstSentAt: replay?.firstSentAt ?? claim.claimedAt,
  };
  const endedAt = new Date(now.getTime() + attempt.record.durationMs);
  const decision = resolveAmbiguity(
    { subject, intent, definition, deadlinesMs, input, now: endedAt },
    offeredProbe(definition),
  );
  const retryAfterMs =
    decision.kind === 'wait' ? 0 : settledAfterMs(attempt, failureClass, failure);
  return {
    settlement: settlementOf(attempt, {
      class: failureClass,
      code: failure.code,
      isFateOpen: true,
      isReplayCounted: isCounted,
      retryAfterMs,
      refreshDueAfterMs:
        decision.kind === 'wait'
          ? decision.forMs
          : replayDueAfter(attempt, {
              retryAfterMs,
              isInsideGrace: isInsideGrace({ intent, definition, deadlinesMs, now: endedAt }),
            }),
    }),
    decision: decision.kind === 'wait' ? 'uncertain' : 'replay',
  };
}

/**
 * The answer of a proxy, or a lost connection, may come while the provider still works on the request: where
 * a replay that meets it ends the grant, it waits for that.
 */
function settledAfterMs(
  attempt: EndedAttempt,
  failureClass: Settlement['class'],
  failure: Failure,
): number {
  const { rotation } = attempt.definition;
  const backOffMs = delayAfter(attempt, failureClass, failure);
  const isCareful = rotation.class === 'X' || rotation.class === 'F';
  return isCareful ? Math.max(backOffMs, settlingMs(rotation)) : backOffMs;
}

/**
 * Replays are without number in some classes, and everywhere after complete answers that are of no use: a
 * provider that gives no other need not be asked each minute. Only a grace does not wait.
 */
function replayDueAfter(
  attempt: EndedAttempt,
  { retryAfterMs, isInsideGrace: isUrgent }: { retryAfterMs: number; isInsideGrace: boolean },
): number {
  const failuresBefore = attempt.subject.connection.failure?.count ?? 0;
  return isUrgent || failuresBefore < promptReplays
    ? retryAfterMs
    : unaskedAfter(attempt, retryAfterMs);
}

function unaskedAfter({ subject, fraction }: EndedAttempt, retryAfterMs: number): number {
  return unaskedDelayMs({
    retryAfterMs,
    failuresBefore: subject.connection.failure?.count ?? 0,
    expiresInMs: validForMs(subject.connection),
    fraction,
  });
}

function delayAfter(
  { subject, replay, definition, fraction }: EndedAttempt,
  failureClass: Settlement['class'],
  { retryAfterSeconds }: Failure,
): number {
  return retryDelayMs({
    class: failureClass,
    rotation: definition.rotation,
    isReplay: replay !== null,
    failuresBefore: subject.connection.failure?.count ?? 0,
    retryAfterSeconds,
    fraction,
  });
}

type End = Omit<Settlement, 'connectionId' | 'generation' | 'record' | 'claimId'>;

function settlementOf(attempt: EndedAttempt, end: End): Settlement {
  return { ...identityOf(attempt), ...end };
}

function identityOf({ claim, claimId, record }: EndedAttempt) {
  const { connectionId, generation } = claim;
  return { connectionId, generation, claimId, record };
}
