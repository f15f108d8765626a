import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';

const everyMs = 10_000;
/** Distinct reasons that are told apart; more of them share one line. */
const reasonsMax = 50;

/** What strangers can cause at will is logged once in 10 s for each reason, with how often it came since. */
export function createRareWarning(
  message: string,
  { clock, log }: { clock: Clock; log: Pick<Logger, 'warn'> },
): (reason: string) => void {
  const seen = new Map<string, { loggedAtMs: number; since: number }>();
  return (given) => {
    const reason = seen.has(given) || seen.size < reasonsMax ? given : 'other';
    const now = clock.monotonicMs();
    const entry = seen.get(reason);
    if (entry !== undefined && now - entry.loggedAtMs < everyMs) {
      entry.since += 1;
      return;
    }
    seen.set(reason, { loggedAtMs: now, since: 0 });
    log.warn({ reason, times: (entry?.since ?? 0) + 1 }, message);
  };
}
