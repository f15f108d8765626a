import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';

const windowMs = 60_000;
const connectionsMax = 100_000;
export const forcedRefreshesPerMinute = 6;

export interface RefreshLimit {
  /** Counts one refresh. Returns 0 when it may go, else the seconds until one may. */
  take(connectionId: string): number;
}

/**
 * How often the callers of one connection may demand a newer token although the stored one is valid.
 * It counts refreshes started in this process, not callers: those who share one cost nothing.
 */
export function createRefreshLimit(
  clock: Clock,
  perMinute = forcedRefreshesPerMinute,
): RefreshLimit {
  const startsMs = new LRUCache<string, number[]>({ max: connectionsMax });
  return {
    take(connectionId) {
      const nowMs = clock.monotonicMs();
      const recent = (startsMs.get(connectionId) ?? []).filter((ms) => ms > nowMs - windowMs);
      const oldest = recent[0];
      if (oldest !== undefined && recent.length >= perMinute) {
        return Math.max((oldest + windowMs - nowMs) / 1_000, 1);
      }
      startsMs.set(connectionId, [...recent, nowMs]);
      return 0;
    },
  };
}
