import { appWaitingEndsMs, holdsValidToken, isRefreshable, type Connection } from './connection.ts';

const marginShare = 0.1;
const marginMinSeconds = 2;
const marginMaxSeconds = 300;
const jitterShare = 0.1;
const dueNotBeforeMs = 1_000;
const minTtlShare = 0.8;

/** `expires_in` as issued is clamped to 1 second … 10 years. */
export const lifetimeMinSeconds = 1;
export const lifetimeMaxSeconds = 10 * 365 * 86_400;

/** What a caller asks of a token; absent members ask nothing. */
export interface Demand {
  minTtlSeconds?: number | undefined;
  /** Satisfied only by a token_version above this. */
  newerThan?: number | undefined;
}

/** What a demand is held against. */
export type JudgedToken = Pick<
  Connection,
  'hasAccessToken' | 'expiresAt' | 'tokenVersion' | 'lifetimeSeconds'
>;

/**
 * Does the stored token satisfy the demand? `versionAtArrival` is the token_version read when the call
 * arrived: a token stored later satisfies any `minTtlSeconds`, so that lifetimes shorter than the
 * demand cause no loop.
 */
export function satisfiesDemand(
  connection: JudgedToken,
  demand: Demand,
  versionAtArrival: number,
  now: Date,
): boolean {
  if (!holdsValidToken(connection, now)) return false;
  if (demand.newerThan !== undefined && connection.tokenVersion <= demand.newerThan) return false;
  if (demand.minTtlSeconds === undefined || connection.expiresAt === null) return true;
  if (connection.tokenVersion > versionAtArrival) return true;
  const wantedMs = 1_000 * effectiveMinTtlSeconds(connection, demand.minTtlSeconds);
  return connection.expiresAt.getTime() - now.getTime() >= wantedMs;
}

/** `min_ttl_seconds` is lowered to 80 % of the lifetime as issued. */
function effectiveMinTtlSeconds(connection: JudgedToken, minTtlSeconds: number): number {
  if (connection.lifetimeSeconds === null) return minTtlSeconds;
  return Math.min(minTtlSeconds, connection.lifetimeSeconds * minTtlShare);
}

/** The refresh margin: 10 % of the lifetime as issued, 2 to 300 seconds. */
export function refreshMarginSeconds(lifetimeSeconds: number): number {
  return Math.min(Math.max(lifetimeSeconds * marginShare, marginMinSeconds), marginMaxSeconds);
}

/**
 * When a token should be refreshed: its margin and up to a tenth of that as jitter before it expires,
 * never earlier than a second from now. `fraction` is a random number in [0, 1), drawn once when the
 * token is stored so that connections issued together do not come due together.
 */
export function refreshDueAt(token: {
  expiresAt: Date;
  lifetimeSeconds: number;
  now: Date;
  fraction: number;
}): Date {
  const marginMs = 1_000 * refreshMarginSeconds(token.lifetimeSeconds);
  const dueMs = token.expiresAt.getTime() - marginMs * (1 + jitterShare * token.fraction);
  return new Date(Math.max(dueMs, token.now.getTime() + dueNotBeforeMs));
}

/** The lifetime as issued within its bounds; anything that is not a finite number counts as missing. */
export function clampLifetimeSeconds(expiresIn: number | null): number | null {
  if (expiresIn === null || !Number.isFinite(expiresIn)) return null;
  return Math.min(Math.max(expiresIn, lifetimeMinSeconds), lifetimeMaxSeconds);
}

/** Still valid but past its due time: serve it, and refresh behind it. */
export function isInsideMargin(connection: Connection, now: Date): boolean {
  return connection.refreshDueAt !== null && connection.refreshDueAt <= now;
}

/**
 * From when on whoever is given the valid token should start a refresh behind it, in milliseconds since
 * 1970: its due time, or the end of what stands in the way until then. Infinity: the row lets none start.
 */
export function refreshBehindFromMs(connection: Connection): number {
  const { refreshDueAt, nextAttemptAt } = connection;
  const isHeld =
    connection.deletedAt !== null || connection.pausedAt !== null || connection.verdict !== null;
  if (refreshDueAt === null || isHeld || !isRefreshable(connection)) return Infinity;
  return Math.max(
    refreshDueAt.getTime(),
    nextAttemptAt?.getTime() ?? -Infinity,
    appWaitingEndsMs(connection),
  );
}
