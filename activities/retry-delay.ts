import type { FailureClass } from '../client/contract.ts';
import type { Rotation } from '../oauth/rotation.ts';

const backOffFirstMs = 1_000;
const backOffMaxMs = 60_000;
const misconfiguredMs = 60_000;
const doublingsMax = 16;
/** Class T: a replay that waits longer than this part of the grace might come too late. */
const graceShare = 0.1;

/**
 * Until the next attempt, in milliseconds: Retry-After where the provider gave one, a minute where the
 * app needs work, nothing where a replay is free and best done at once (class C), else 1 s doubling to
 * 60 s with full jitter; before a replay of class T no more than a tenth of the grace. `fraction` is a random number in [0, 1).
 */
export function retryDelayMs(failure: {
  class: Exclude<FailureClass, 'permanent'>;
  rotation: Rotation | null;
  /** The attempt that failed was a replay. */
  isReplay: boolean;
  failuresBefore: number;
  retryAfterSeconds: number | null;
  fraction: number;
}): number {
  if (failure.retryAfterSeconds !== null) return 1_000 * failure.retryAfterSeconds;
  if (failure.class === 'misconfigured') return misconfiguredMs;
  if (failure.class === 'ambiguous' && failure.rotation?.class === 'C') return 0;
  const doublings = Math.min(failure.failuresBefore, doublingsMax);
  const capMs = Math.min(backOffFirstMs * 2 ** doublings, backOffMaxMs);
  return Math.round(failure.fraction * Math.min(capMs, graceCapMs(failure)));
}

function graceCapMs({
  class: failureClass,
  rotation,
  isReplay,
}: {
  class: FailureClass;
  rotation: Rotation | null;
  isReplay: boolean;
}): number {
  const isBeforeReplay = isReplay || failureClass === 'ambiguous';
  if (rotation?.class !== 'T' || !isBeforeReplay) return backOffMaxMs;
  return 1_000 * (rotation.graceSeconds ?? 0) * graceShare;
}

const unaskedFirstMs = 30_000;
const unaskedMaxMs = 900_000;
/** Before a token expires the sweep tries once more. */
const beforeExpiryMs = 30_000;

/**
 * Until the sweep tries a connection again that fails, in milliseconds: later than callers may, from half a
 * minute doubling to a quarter of an hour, so that what has failed for days is not picked each minute; but
 * once more before the token in use expires. Half of it is jitter, drawn now.
 */
export function unaskedDelayMs(failure: {
  /** When callers may ask again; never sooner than that. */
  retryAfterMs: number;
  failuresBefore: number;
  /** Null: the token in use does not expire; 0 or less: it has expired, or there is none. */
  expiresInMs: number | null;
  fraction: number;
}): number {
  const { retryAfterMs, failuresBefore, expiresInMs, fraction } = failure;
  const doublings = Math.min(failuresBefore, doublingsMax);
  const capMs = Math.min(unaskedFirstMs * 2 ** doublings, unaskedMaxMs);
  const laterMs = Math.max(Math.round(capMs * (0.5 + 0.5 * fraction)), retryAfterMs);
  const lastCallMs = (expiresInMs ?? 0) - beforeExpiryMs;
  return lastCallMs > retryAfterMs ? Math.min(laterMs, lastCallMs) : laterMs;
}
