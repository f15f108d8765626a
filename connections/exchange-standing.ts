import { isAppPaused } from './app.ts';
import { isInsideMargin } from './freshness.ts';
import {
  holdsValidToken,
  isProbeAllowed,
  isRefreshable,
  reauthorizationReason,
} from './connection.ts';
import type { ExchangeSubject, RefreshIntent } from './exchange.ts';

/** What a refresh may do with the connection as it stands. */
export type ExchangeStanding =
  | { kind: 'gone' }
  | { kind: 'already_fresh' }
  | { kind: 'paused' }
  | { kind: 'reauthorization_required' }
  /** The app is paused; nothing is sent for it. */
  | { kind: 'app_paused' }
  | { kind: 'wait'; afterMs: number }
  /** Somebody's call is open; its answer may still come. */
  | { kind: 'open'; afterMs: number }
  /** Nobody's call is open any more, and nobody knows whether the token was spent. */
  | { kind: 'ambiguous'; intent: RefreshIntent }
  /** To be replayed, but tokens of an older attempt lie in the intent: they are stored instead. */
  | { kind: 'late_tokens'; intent: RefreshIntent; late: NonNullable<RefreshIntent['late']> }
  | { kind: 'may_send'; replay: RefreshIntent | null };

export interface StandingQuestion {
  /** Only a token_version above this is new; null: only if due. */
  newerThan: number | null;
  /** The ambiguous attempt that the Workflow decided to replay. */
  replayOf: number | null;
  now: Date;
}

/** Step 1 of the exchange (docs/architecture.md): pure, so that a table can test it. */
export function exchangeStanding(
  subject: ExchangeSubject | undefined,
  question: StandingQuestion,
): ExchangeStanding {
  if (subject?.connection.deletedAt !== null) return { kind: 'gone' };
  const { connection, app } = subject;
  const { newerThan, now } = question;
  if (newerThan !== null && connection.tokenVersion > newerThan) return { kind: 'already_fresh' };
  if (newerThan === null && !isDue(subject, now)) return { kind: 'already_fresh' };
  if (connection.pausedAt !== null) return { kind: 'paused' };
  if (reauthorizationReason(connection, now) !== null && !isProbeAllowed(connection)) {
    return { kind: 'reauthorization_required' };
  }
  if (!isRefreshable(connection)) return { kind: 'already_fresh' };
  if (isAppPaused(app, now)) return { kind: 'app_paused' };
  if (connection.nextAttemptAt !== null && connection.nextAttemptAt > now) {
    return { kind: 'wait', afterMs: msBetween(now, connection.nextAttemptAt) };
  }
  return intentStanding(subject.intent, connection.generation, question);
}

function intentStanding(
  intent: RefreshIntent | null,
  generation: number,
  question: StandingQuestion,
): ExchangeStanding {
  if (intent?.generation !== generation) return { kind: 'may_send', replay: null };
  if (intent.answerBy >= question.now) {
    return { kind: 'open', afterMs: msBetween(question.now, intent.answerBy) };
  }
  if (question.replayOf !== intent.attempt) return { kind: 'ambiguous', intent };
  // Only now: the later attempt's own tokens, in a process or a history, were given their time.
  if (intent.late !== null) return { kind: 'late_tokens', intent, late: intent.late };
  return { kind: 'may_send', replay: intent };
}

function isDue({ connection }: ExchangeSubject, now: Date): boolean {
  return !holdsValidToken(connection, now) || isInsideMargin(connection, now);
}

function msBetween(from: Date, to: Date): number {
  return Math.max(to.getTime() - from.getTime(), 1);
}
