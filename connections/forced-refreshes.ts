import { holdsValidToken, type Connection } from './connection.ts';
import { isInsideMargin } from './freshness.ts';
import type { RefreshTrigger } from '../client/contract.ts';

/** How often the callers of a connection may insist on a newer token although the stored one is valid. */
export const forcedRefreshesMax = 6;
const windowMs = 60_000;

/** Does this refresh replace a token that nothing is wrong with, as far as its row tells? */
export function isForcedRefresh(
  connection: Connection,
  trigger: RefreshTrigger,
  now: Date,
): boolean {
  const isInsisting = trigger === 'force' || trigger === 'rejected' || trigger === 'workflow';
  return isInsisting && holdsValidToken(connection, now) && !isInsideMargin(connection, now);
}

/** Until the next forced refresh may begin, in milliseconds; 0: now. Counted in the row, for all replicas. */
export function forcedRefreshWaitMs({ forcedSends }: Connection, now: Date): number {
  const recent = forcedSends.filter((at) => at.getTime() > now.getTime() - windowMs);
  const oldest = Math.min(...recent.map((at) => at.getTime()));
  return recent.length < forcedRefreshesMax ? 0 : oldest + windowMs - now.getTime();
}
