import type { createTokenFamilies } from '../support/token-family.ts';
import type { Call } from './simulation.ts';

/** The connection as it is stored, its tokens opened. */
export interface Row {
  generation: number;
  attempt: number;
  tokenVersion: number;
  verdict: string | null;
  isUncertain: boolean;
  refreshToken: string;
  /** When the sweep may pick it; null: never of its own accord. */
  dueAtMs: number | null;
  intent: {
    generation: number;
    attempt: number;
    answerByMs: number;
    late: { attempt: number; token: string } | null;
  } | null;
}

/** A claim that was granted to a call. */
export interface Claim {
  generation: number;
  attempt: number;
  isReplay: boolean;
  /** Its call ended without the answer. */
  isDropped: boolean;
}

/** A refresh token that the provider issued, and the call that it was sent to. */
export interface Answer {
  claim: Claim;
  call: Call;
  token: string;
}

/** Tokens in the history of a run. */
export interface SealedTokens {
  generation: number;
  attempt: number;
  token: string;
}

interface Facts {
  /** As it was before the last step. */
  before: Row;
  row: Row;
  sealed: SealedTokens[];
  answers: Answer[];
  /** A living process has the answer in memory. */
  isInHand: (answer: Answer) => boolean;
  families: ReturnType<typeof createTokenFamilies>;
  nowMs: number;
  hasAmbiguousFault: boolean;
}

/** The conditions of claim_model.py that concern a state, and ours; null if all hold. */
export function findViolation(facts: Facts): string | null {
  return (
    wentBack(facts) ??
    dueInThePast(facts) ??
    verdictOverTokens(facts) ??
    spentWithoutIntent(facts) ??
    droppedAnswer(facts) ??
    overtaken(facts) ??
    lostWithoutFault(facts)
  );
}

function wentBack({ before, row }: Facts): string | null {
  const isBack =
    row.generation < before.generation ||
    row.tokenVersion < before.tokenVersion ||
    row.attempt < before.attempt;
  return isBack ? 'a counter went back' : null;
}

/** The sweep would pick it again at once, and each time again. */
function dueInThePast({ before, row, nowMs }: Facts): string | null {
  if (row.dueAtMs === null || row.dueAtMs === before.dueAtMs) return null;
  return row.dueAtMs < nowMs ? 'a due time was written into the past' : null;
}

function verdictOverTokens({ row, sealed }: Facts): string | null {
  if (row.verdict === null) return null;
  const isInIntent = row.intent?.generation === row.generation && row.intent.late !== null;
  const isSealed = sealed.some(({ generation }) => generation === row.generation);
  return isInIntent || isSealed ? 'a verdict over tokens in hand' : null;
}

/** The next caller would send it again as if for the first time. */
function spentWithoutIntent({ row, families }: Facts): string | null {
  if (row.verdict !== null || row.intent?.generation === row.generation) return null;
  return families.wasSpent(row.refreshToken) ? 'a spent token is stored without an intent' : null;
}

/** P5: an answer in a living process yields only to a newer generation or a later attempt's tokens. */
function droppedAnswer(facts: Facts): string | null {
  const { row, answers, isInHand } = facts;
  const dropped = answers.find(
    (answer) =>
      answer.call.process.isAlive &&
      !answer.claim.isDropped &&
      !isInHand(answer) &&
      row.generation <= answer.claim.generation &&
      !tokensOf(facts).some(
        ({ generation, attempt }) =>
          generation === answer.claim.generation && attempt >= answer.claim.attempt,
      ),
  );
  return dropped === undefined
    ? null
    : `the answer of attempt ${dropped.claim.attempt} was dropped`;
}

/** Tokens beside those that the row holds as its own. */
function tokensOf({ row, sealed }: Facts): SealedTokens[] {
  const { intent } = row;
  if (intent?.late == null) return sealed;
  return [...sealed, { generation: intent.generation, ...intent.late }];
}

/**
 * The tokens of a later attempt are the newer ones, and must not yield to an earlier one's: until its
 * answer_by, for a process that could not commit until then is cut off and nobody can know of it.
 */
function overtaken(facts: Facts): string | null {
  const { before, row, answers, isInHand, nowMs } = facts;
  if (row.generation === before.generation) return null;
  const stored = answers.find(({ token }) => token === row.refreshToken);
  if (stored === undefined) return null;
  const isLater = ({ generation, attempt }: { generation: number; attempt: number }) =>
    generation === stored.claim.generation && attempt > stored.claim.attempt;
  const isOpen = before.intent !== null && nowMs <= before.intent.answerByMs;
  const isLaterHeld =
    tokensOf({ ...facts, row: before }).some(isLater) ||
    (isOpen &&
      answers.some(
        (answer) => isLater(answer.claim) && !answer.call.process.wasPaused && isInHand(answer),
      ));
  return isLaterHeld ? 'tokens of an earlier attempt replaced those of a later one' : null;
}

/** Without a kill, a drop or a pause nothing is ambiguous, so nothing may be lost. */
function lostWithoutFault(facts: Facts): string | null {
  const { row, answers, isInHand, families, hasAmbiguousFault } = facts;
  if (hasAmbiguousFault) return null;
  if (families.truth.familyRevocations > 0) return 'the family was revoked without a fault';
  const held = [
    row.refreshToken,
    ...tokensOf(facts).map(({ token }) => token),
    ...answers.filter(isInHand).map(({ token }) => token),
  ];
  const isLive = (token: string): boolean =>
    families.isUsable(token) && families.areRelated(token, row.refreshToken);
  return held.some(isLive) ? null : 'the live token is held nowhere';
}
