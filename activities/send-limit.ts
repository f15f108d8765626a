import { forcedRefreshWaitMs, isForcedRefresh } from '../connections/forced-refreshes.ts';
import type { ExchangeSubject } from '../connections/exchange.ts';
import type { ProviderDefinition } from '../oauth/provider-definition.ts';
import type { RefreshTrigger } from '../client/contract.ts';

/** Why this connection may not send yet, and how long; `window`: by the provider's own limit. */
export interface SendDelay {
  kind: 'interval' | 'forced' | 'window';
  afterMs: number;
}

/**
 * The limits of one connection: the least time between two exchanges, the refreshes that callers may
 * force, and how often its provider issues tokens for one refresh token. Null: it may send.
 */
export function sendDelay(
  subject: ExchangeSubject,
  { limits }: ProviderDefinition,
  { trigger, isReplay }: { trigger: RefreshTrigger; isReplay: boolean },
): SendDelay | null {
  const { connection, lastSentAt, recentSends } = subject;
  const now = connection.readAt;
  const nowMs = now.getTime();
  const delays: SendDelay[] = [];
  if (lastSentAt !== null) {
    const ofApp = subject.app.limits.min_interval_seconds ?? 0;
    const intervalMs = 1_000 * Math.max(limits.minIntervalSeconds, ofApp);
    const nextMs = lastSentAt.getTime() + intervalMs;
    delays.push({ kind: 'interval', afterMs: nextMs - nowMs });
  }
  if (!isReplay && isForcedRefresh(connection, trigger, now)) {
    delays.push({ kind: 'forced', afterMs: forcedRefreshWaitMs(connection, now) });
  }
  if (limits.perWindow !== null) {
    const { count, seconds } = limits.perWindow;
    // Newest first: the place of the one that is count back is free again once it leaves the window.
    const earliest = recentSends.map((at) => at.getTime()).toSorted((a, b) => b - a)[count - 1];
    if (earliest !== undefined) {
      delays.push({ kind: 'window', afterMs: earliest + 1_000 * seconds - nowMs });
    }
  }
  const longest = delays.toSorted((a, b) => b.afterMs - a.afterMs)[0];
  return longest === undefined || longest.afterMs <= 0 ? null : longest;
}
