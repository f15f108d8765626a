import type { RotationClass } from '../connections/connection.ts';

// Pure: Workflow code imports this file.

/** How a provider treats the refresh token that was just used. */
export interface Rotation {
  class: RotationClass;
  /** How long after its first use an old refresh token still works; class T only. */
  graceSeconds: number | null;
  /** The old access token stops working with the refresh. */
  oldAccessTokenDies: boolean;
}

/** The total deadline of a token request by rotation class; class T(n) takes n/4 where that is less. */
export type ProviderDeadlinesMs = Record<RotationClass, number>;

export const defaultDeadlinesMs: ProviderDeadlinesMs = {
  S: 15_000,
  L: 15_000,
  C: 15_000,
  T: 10_000,
  // Giving up early on a single-use token is itself the loss.
  X: 60_000,
  F: 60_000,
};
const graceDeadlineShare = 0.25;

const settlingMaxMs = 5_000;
const graceSettlingShare = 0.1;

/** Between the claim of an attempt and the sending of its request. */
export const sendLimitMs = 2_000;
/** Between the provider deadline and the moment from which another attempt may take the claim over. */
const answerSlackMs = 3_000;

/** The total deadline of a token request, counted from its claim. */
export function providerDeadlineMs(
  rotation: Rotation,
  deadlinesMs: ProviderDeadlinesMs = defaultDeadlinesMs,
): number {
  const deadlineMs = deadlinesMs[rotation.class];
  if (rotation.class !== 'T') return deadlineMs;
  return Math.min(deadlineMs, graceMs(rotation) * graceDeadlineShare);
}

/** From the claim until no answer of it can come any more. */
export function answerWithinMs(
  rotation: Rotation,
  deadlinesMs: ProviderDeadlinesMs = defaultDeadlinesMs,
): number {
  return providerDeadlineMs(rotation, deadlinesMs) + answerSlackMs;
}

/** How long to wait between learning that an attempt is ambiguous and replaying it. */
export function settlingMs(rotation: Rotation): number {
  if (rotation.class !== 'T') return settlingMaxMs;
  return Math.min(settlingMaxMs, graceMs(rotation) * graceSettlingShare);
}

/**
 * Class T: how long after the first send a replay may still begin, so that its answer comes within the
 * grace: grace - deadline - send limit. Zero or less: never.
 */
export function replayBudgetMs(
  rotation: Rotation,
  deadlinesMs: ProviderDeadlinesMs = defaultDeadlinesMs,
): number {
  return graceMs(rotation) - providerDeadlineMs(rotation, deadlinesMs) - sendLimitMs;
}

/**
 * Does class T's grace outlast a process that died after sending? The claim it left can be taken over
 * only after the deadline and its slack; where that is later than the budget, T counts as F.
 */
export function isCrashInsideGrace(rotation: Rotation): boolean {
  const replayAtMs = answerWithinMs(rotation) + settlingMs(rotation);
  return replayAtMs < replayBudgetMs(rotation);
}

function graceMs(rotation: Rotation): number {
  return 1_000 * (rotation.graceSeconds ?? 0);
}
