import {
  appSendLimits,
  passOpenGate,
  type GateAnswer,
  type GateEnd,
  type GateEntry,
} from '../connections/app-gate.ts';
import type { ExchangeSubject } from '../connections/exchange.ts';
import type { Judgement } from '../oauth/failure-class.ts';
import { answerWithinMs } from '../oauth/rotation.ts';
import type { TokenAnswer } from '../oauth/provider-answer.ts';
import { placeholders } from '../oauth/url-template.ts';
import { isStoreAway } from './activity-failure.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import type { PreparedExchange } from './exchange-preflight.ts';

/** Beside the time for an answer: opening the connection, and the statements around it. */
const exchangeSlackMs = 9_000;
/** The Workflow gives the Activity this long (architecture.md, numbers). */
const activityMs = 75_000;
/** How long an exchange waits for those that come first; what is left beside a long deadline, if less. */
const patienceMaxMs = 10_000;
const patienceMinMs = 1_000;

/** Asks the app's gate whether this exchange may send now. Throws `store_unavailable`. */
export async function enterGate(
  { gateLine, deadlinesMs }: ExchangeDependencies,
  exchange: {
    subject: ExchangeSubject;
    prepared: PreparedExchange;
    claimId: string;
    isUrgent: boolean;
  },
): Promise<GateAnswer> {
  const { subject, prepared, claimId, isUrgent } = exchange;
  const { definition } = prepared;
  const { app, connection } = subject;
  const answerMs = answerWithinMs(definition.rotation, deadlinesMs);
  const patienceMs = Math.min(
    Math.max(activityMs - answerMs - exchangeSlackMs, patienceMinMs),
    patienceMaxMs,
  );
  const request = {
    appId: app.id,
    host: prepared.tokenHost ?? '',
    connectionId: connection.id,
    claimId,
    leaseMs: answerMs + exchangeSlackMs,
    limits: appSendLimits(app.limits, definition.limits),
    isUrgent,
  };
  const entry = passOpenGate(subject.openGate, request);
  if (entry !== undefined) return { kind: 'open', entry };
  return gateLine.enter(request, patienceMs);
}

/** Tells the gate how a send ended. A store that is away costs the lease its time, nothing else. */
export async function leaveGate(
  { gates, log }: ExchangeDependencies,
  entry: GateEntry,
  end: GateEnd,
): Promise<void> {
  try {
    await gates.leave(entry, end);
  } catch (error) {
    if (!isStoreAway(error)) throw error;
    log.warn({ app_id: entry.appId, err: error }, 'the gate of the app could not be told');
  }
}

/** What an answer, or a connection that could not be opened, says of the app rather than the token. */
export function gateEndOf(
  { definition }: PreparedExchange,
  answer: TokenAnswer,
  judgement: Judgement,
  retryAfterMs: number,
): GateEnd {
  if (judgement.kind === 'success') return { kind: 'succeeded' };
  const askedMs = judgement.retryAfterSeconds === null ? null : 1_000 * judgement.retryAfterSeconds;
  switch (judgement.class) {
    case 'permanent':
      // Whoever is told that a grant is over was accepted as the client.
      return { kind: 'succeeded' };
    case 'misconfigured':
      return answer.kind === 'answer'
        ? { kind: 'misconfigured', code: judgement.code, pausesApp: isHostShared(definition) }
        : { kind: 'unsent' };
    case 'rate_limited':
      return { kind: 'rate_limited', retryAfterMs };
    case 'transient':
    case 'ambiguous':
    case 'protocol_break':
      return { kind: 'unavailable', retryAfterMs: askedMs };
  }
}

/** Every connection of the app goes to the same place, so what that says of the app it says to all. */
function isHostShared({ refreshUrl, tokenUrl }: PreparedExchange['definition']): boolean {
  return placeholders(refreshUrl ?? tokenUrl).length === 0;
}
