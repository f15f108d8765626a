import { clampLifetimeSeconds, refreshDueAt } from '../connections/freshness.ts';
import { withKeepAlive } from '../connections/grant-lifetime.ts';
import type { ExchangeSubject } from '../connections/exchange.ts';
import { keepAliveShare } from '../oauth/definition-rules.ts';
import type { Judgement } from '../oauth/failure-class.ts';
import type { ExtractedTokens } from '../oauth/token-answer.ts';
import { resolveLifetime } from '../oauth/token-lifetime.ts';
import type { PreparedExchange } from './exchange-preflight.ts';
import type { KeptTokens } from './kept-tokens.ts';
import { retryDelayMs } from './retry-delay.ts';

/** RFC 6749 §5.1 demands a token_type; bearer is what those mean who leave it out. */
const assumedTokenType = 'Bearer';
/** Lifetimes are told in seconds, and counted from when an answer was made. */
const endToleranceMs = 60_000;

interface AnswerFacts {
  subject: ExchangeSubject;
  prepared: PreparedExchange;
  tokens: ExtractedTokens | null;
  judgement: Judgement;
  /** Expiry counts from here. */
  sentAt: Date;
  random: () => number;
}

/**
 * What of an answer must be stored: the new tokens of a success, and a new refresh token whatever else
 * is wrong with the answer (P4). Null: nothing new.
 */
export function tokensToKeep(facts: AnswerFacts): KeptTokens | null {
  const { tokens, judgement, prepared } = facts;
  if (tokens === null) return null;
  if (judgement.kind === 'success') return newTokens(facts, tokens);
  const isRotated =
    tokens.refreshToken !== null &&
    tokens.refreshToken.reveal() !== prepared.refreshToken?.reveal();
  return isRotated ? rotatedOnly(facts, tokens) : null;
}

function newTokens(facts: AnswerFacts, tokens: ExtractedTokens): KeptTokens {
  const { subject, prepared, sentAt } = facts;
  const { connection } = subject;
  // An answer without a refresh token leaves the old one in force (RFC 6749 §6).
  const refreshToken = tokens.refreshToken ?? prepared.refreshToken;
  const canRefresh = refreshToken !== null || prepared.definition.credential !== 'refresh_token';
  const { lifetimeSeconds, assumed } = resolveLifetime({
    definition: prepared.definition,
    tokens,
    lastLifetimeSeconds: connection.lifetimeSeconds,
    hasRefreshToken: canRefresh,
    sentAt,
    clamp: clampLifetimeSeconds,
  });
  const expiresAt = after(sentAt, lifetimeSeconds);
  return {
    accessToken: tokens.accessToken,
    refreshToken,
    isNewAccessToken: true,
    tokenType: tokens.tokenType ?? assumedTokenType,
    scope: tokens.scope ?? connection.scope,
    expiresAt,
    lifetimeSeconds,
    expiryAssumed: assumed,
    refreshTokenExpiresAt: after(sentAt, tokens.refreshExpiresInSeconds),
    refreshDueAt: withKeepAlive(
      expiresAt === null || lifetimeSeconds === null || !canRefresh
        ? null
        : refreshDueAt({ expiresAt, lifetimeSeconds, now: sentAt, fraction: facts.random() }),
      {
        usedAt: sentAt,
        keepAliveSeconds: refreshToken === null ? null : keepAliveSeconds(facts, tokens),
        fraction: facts.random(),
      },
    ),
    metadata: tokens.metadata,
    failure: null,
  };
}

/**
 * How often the refresh token is to be used: as the definition says, or before the end that the answer tells,
 * unless that is where it was before, for then no use puts it off.
 */
function keepAliveSeconds(
  { subject, prepared, sentAt }: AnswerFacts,
  { refreshExpiresInSeconds: toldSeconds }: ExtractedTokens,
): number | null {
  const ruleSeconds = prepared.definition.lifetime.keepAliveSeconds;
  if (toldSeconds === null) return ruleSeconds;
  const before = subject.refreshTokenExpiresAt;
  const endsAtMs = sentAt.getTime() + 1_000 * toldSeconds;
  if (before !== null && endsAtMs <= before.getTime() + endToleranceMs) return ruleSeconds;
  return Math.min(ruleSeconds ?? Infinity, toldSeconds * keepAliveShare);
}

/** The answer is no success, but the old refresh token is spent: the new one is all there is. */
function rotatedOnly(facts: AnswerFacts, tokens: ExtractedTokens): KeptTokens {
  const { subject, prepared, judgement, sentAt, random } = facts;
  const { connection } = subject;
  const retryAfterMs = retryDelayMs({
    class: 'protocol_break',
    rotation: prepared.definition.rotation,
    isReplay: false,
    failuresBefore: connection.failure?.count ?? 0,
    retryAfterSeconds: judgement.kind === 'failure' ? judgement.retryAfterSeconds : null,
    fraction: random(),
  });
  return {
    accessToken: prepared.accessToken,
    refreshToken: tokens.refreshToken,
    isNewAccessToken: false,
    tokenType: connection.tokenType,
    scope: connection.scope,
    expiresAt: connection.expiresAt,
    lifetimeSeconds: connection.lifetimeSeconds,
    expiryAssumed: connection.expiryAssumed,
    refreshTokenExpiresAt: after(sentAt, tokens.refreshExpiresInSeconds),
    refreshDueAt: after(sentAt, retryAfterMs / 1_000),
    metadata: {},
    failure: {
      class: 'protocol_break',
      code: judgement.kind === 'failure' ? judgement.code : 'no_access_token',
      retryAfterMs,
    },
  };
}

function after(instant: Date, seconds: number | null): Date | null {
  return seconds === null ? null : new Date(instant.getTime() + 1_000 * seconds);
}
