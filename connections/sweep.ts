import type { AppLimits } from './app.ts';

/** An app of which connections are due. */
export interface DueApp {
  appId: string;
  provider: string;
  overrides: Record<string, unknown>;
  limits: AppLimits;
  /** Sends in the window of `limits.per_window`, whoever asked for them; 0 without one. */
  recentSends: number;
}

/** How many connections of an app may be claimed now. */
export interface SweepQuota {
  appId: string;
  quota: number;
}

/** A connection that the sweep has to itself for two minutes. */
export interface ClaimedConnection {
  connectionId: string;
  tenantId: string;
  appId: string;
  tokenVersion: number;
  /** Since when it was due. */
  dueAt: Date;
  /** A verdict stands, and somebody wants to see whether it still holds. */
  isProbe: boolean;
  /** Its app may not send at its host yet: put off until it may, and not to be started. */
  isPutOff: boolean;
}

/** Statements of the sweep. All throw `store_unavailable`. */
export interface SweepStore {
  /** Apps that are not paused and have connections due; the one that waits longest first. */
  dueApps(limit: number): Promise<DueApp[]>;
  /**
   * Claims at most `limit` due connections, the longest due first, by putting their due time off: nobody
   * else claims them meanwhile, and a claim whose start is lost comes back by itself. Ordered by due time.
   */
  claim(quotas: SweepQuota[], limit: number): Promise<{ claimed: ClaimedConnection[]; now: Date }>;
  /** Tells of grants whose known end is near, each once. Answers how many, at most `limit`. */
  announceEnds(limit: number): Promise<number>;
  /** For how long the longest due connection has been waiting, in seconds; 0: none is due. */
  lagSeconds(): Promise<number>;
}
