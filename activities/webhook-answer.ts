import { readRetryAfter } from '../oauth/retry-after.ts';
import type { TokenAnswer } from '../oauth/provider-answer.ts';

const msPerSecond = 1_000;
const retryMinMs = 1_000;
const retryMaxMs = 15 * 60_000;
const retryDoublingsMax = 10;
const statusGone = 410;

/** What an endpoint made of one delivery. */
export type WebhookAnswer =
  | { kind: 'taken' }
  /** `askedForMs`: an hour at most. `isGone`: it will take nothing ever again. */
  | { kind: 'refused'; code: string; askedForMs: number; isGone: boolean };

/** 2xx is taken, whatever else it says; a redirect is not followed, so it is a refusal. */
export function readWebhookAnswer(answer: TokenAnswer, now: Date): WebhookAnswer {
  if (answer.kind !== 'answer') {
    return { kind: 'refused', code: answer.code, askedForMs: 0, isGone: false };
  }
  const { status, headers } = answer;
  if (status >= 200 && status < 300) return { kind: 'taken' };
  const askedForMs = msPerSecond * (readRetryAfter(headers, now) ?? 0);
  return {
    kind: 'refused',
    code: `http_${status}`,
    askedForMs,
    isGone: status === statusGone,
  };
}

/**
 * Until the next attempt: 1 s, doubling to 15 minutes, of which a random half is left away, and no sooner
 * than the endpoint asked for. `failuresBefore`: in a row.
 */
export function webhookRetryMs(
  failuresBefore: number,
  askedForMs: number,
  fraction: number,
): number {
  const doublings = Math.min(failuresBefore, retryDoublingsMax);
  const wholeMs = Math.min(retryMinMs * 2 ** doublings, retryMaxMs);
  return Math.max(Math.round(wholeMs * (0.5 + fraction / 2)), askedForMs);
}
