/** How long a grant lives as far as its provider's definition tells; null: it does not. */
export interface GrantLifetime {
  /** An exchange at least this often keeps an idle refresh token alive. */
  keepAliveSeconds: number | null;
  /** From the customer's consent to the end, whatever is refreshed. */
  absoluteSeconds: number | null;
}

/** Drawn off, so that grants of one day do not come due in one minute. */
const keepAliveJitterShare = 0.01;
/** How long before the end of a grant its customer hears of it, at most; a fifth of its life if less. */
const noticeMaxSeconds = 7 * 86_400;
const noticeShare = 0.2;

/** The earlier of the access token's due time and the time to keep the refresh token alive; null: neither. */
export function withKeepAlive(
  dueAt: Date | null,
  refreshToken: { usedAt: Date; keepAliveSeconds: number | null; fraction: number },
): Date | null {
  const { usedAt, keepAliveSeconds, fraction } = refreshToken;
  if (keepAliveSeconds === null) return dueAt;
  const keptSeconds = keepAliveSeconds * (1 - keepAliveJitterShare * fraction);
  const keepAt = new Date(usedAt.getTime() + 1_000 * keptSeconds);
  return dueAt === null || keepAt < dueAt ? keepAt : dueAt;
}

/** The end of a grant that begins now, and when to tell of it; null: no end is known. */
export function grantEnd(
  absoluteSeconds: number | null,
  now: Date,
): { endsAt: Date; noticeAt: Date } | null {
  if (absoluteSeconds === null) return null;
  const noticeSeconds = Math.min(noticeMaxSeconds, noticeShare * absoluteSeconds);
  const after = (seconds: number) => new Date(now.getTime() + 1_000 * seconds);
  return { endsAt: after(absoluteSeconds), noticeAt: after(absoluteSeconds - noticeSeconds) };
}

/** `noticeAt` of `grantEnd` in SQL, for an end that an answer has told. */
export function noticeBefore(end: string): string {
  return `${end} - least(interval '${noticeMaxSeconds} seconds',
            greatest(${end} - clock_timestamp(), interval '0') * ${noticeShare})`;
}
