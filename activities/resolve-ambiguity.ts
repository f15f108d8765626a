import type { ExchangeSubject, RefreshIntent } from '../connections/exchange.ts';
import { decideAmbiguity, type AmbiguityDecision, type ProbeState } from '../oauth/ambiguity.ts';
import type { ProviderDefinition } from '../oauth/provider-definition.ts';
import { replayBudgetMs, type ProviderDeadlinesMs } from '../oauth/rotation.ts';
import type { RefreshTokenInput } from './refresh-step.ts';

export interface AmbiguousSubject {
  subject: ExchangeSubject;
  intent: Pick<RefreshIntent, 'replays' | 'firstSentAt'>;
  definition: ProviderDefinition;
  deadlinesMs: ProviderDeadlinesMs;
  input: Pick<RefreshTokenInput, 'trigger' | 'newerThan'>;
  /** The database's time. */
  now: Date;
}

/** What becomes of an ambiguous attempt, by the facts of its row. */
export function resolveAmbiguity(
  ambiguous: AmbiguousSubject,
  probe: ProbeState,
): AmbiguityDecision {
  const { subject, intent, definition, input, now } = ambiguous;
  const { connection } = subject;
  return decideAmbiguity(definition.rotation, definition.ambiguity, {
    replays: intent.replays,
    isInsideGrace: isInsideGrace(ambiguous),
    accessTokenEndsInMs: !connection.hasAccessToken
      ? 0
      : connection.expiresAt && connection.expiresAt.getTime() - now.getTime(),
    // The demand names the current version, for a newer one would have satisfied it already.
    isRejected: input.trigger === 'rejected' && input.newerThan !== null,
    probe,
  });
}

/** Whether the authorization server can be asked before a spent token is sent again. */
export function offeredProbe({ ambiguity, introspectUrl }: ProviderDefinition): ProbeState {
  return ambiguity.probe === 'introspection' && introspectUrl !== null ? 'offered' : 'none';
}

/** Class T: a replay that begins now is answered before its grace ends. */
export function isInsideGrace({
  intent,
  definition,
  deadlinesMs,
  now,
}: Pick<AmbiguousSubject, 'intent' | 'definition' | 'deadlinesMs' | 'now'>): boolean {
  const { rotation } = definition;
  if (rotation.class !== 'T') return false;
  return now.getTime() - intent.firstSentAt.getTime() < replayBudgetMs(rotation, deadlinesMs);
}

/** Until somebody should come back to the attempt: at once, later, or never of his own accord. */
export function dueAfterMs(decision: AmbiguityDecision): number | null {
  return decision.kind === 'wait' ? decision.forMs : 0;
}
