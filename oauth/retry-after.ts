const retryAfterMaxSeconds = 3_600;
const msPerSecond = 1_000;
/** The forms of RFC 9110 §5.6.7, and ISO 8601; `Date.parse` alone would take `7.5` for a day in July. */
const datePattern = /^(?:[A-Za-z]{3,9},? .*\d{2}:\d{2}:\d{2}|\d{4}-\d{2}-\d{2}T)/;

/**
 * Seconds to wait, 0 to 3600, or null if the answer does not say. RFC 9110 §10.2.3: seconds, or a date,
 * which is compared with the clock that wrote it; `now` is used if the answer has no Date of its own.
 */
export function readRetryAfter(headers: Record<string, string>, now: Date): number | null {
  const text = headers['retry-after']?.trim() ?? '';
  const seconds = /^\d+(?:\.\d+)?$/.test(text)
    ? Math.ceil(Number(text))
    : secondsUntil(text, headers['date'], now);
  return Number.isNaN(seconds) ? null : Math.min(Math.max(seconds, 0), retryAfterMaxSeconds);
}

function secondsUntil(dateText: string, answerDate: string | undefined, now: Date): number {
  if (!datePattern.test(dateText)) return NaN;
  const writtenAtMs = Date.parse(answerDate ?? '');
  const fromMs = Number.isNaN(writtenAtMs) ? now.getTime() : writtenAtMs;
  return Math.ceil((Date.parse(dateText) - fromMs) / msPerSecond);
}
