import { TokenManagerError, type RefreshTrigger } from '../client/contract.ts';
import type { Connection } from './connection.ts';
import { isInsideMargin, satisfiesDemand, type Demand, type JudgedToken } from './freshness.ts';

/** What a caller may ask of the token beside that it has not expired; absent members ask nothing. */
export interface AskedDemand {
  /** 0 to 86400. */
  minTtlSeconds?: number | undefined;
  /** Never a version older than this. */
  minTokenVersion?: number | undefined;
  /** A provider's API refused this version; a newer one is wanted if it is still current. */
  rejectedTokenVersion?: number | undefined;
  /** A token newer than the one current when the call arrived. */
  force?: boolean | undefined;
  /** Refresh a token past its due time although it is valid; no demand if that does not succeed. */
  ifDue?: boolean | undefined;
}

export interface ReadDemand {
  /** What the row must satisfy to be answered without a refresh. */
  wanted: Demand;
  /** What it must satisfy once a refresh was not possible or brought nothing. */
  accepted: Demand;
  trigger: RefreshTrigger;
}

/**
 * The demand against the row as it was when the call arrived. Throws `input_validation` for a version
 * that was never handed out. A `minTokenVersion` one above the current version asks for the next token;
 * further ahead it is a mistake, for the row is read from the primary and cannot trail.
 */
export function readDemand(asked: AskedDemand, connection: Connection, now: Date): ReadDemand {
  const { tokenVersion } = connection;
  const { minTtlSeconds, minTokenVersion, rejectedTokenVersion, force } = asked;
  if (rejectedTokenVersion !== undefined && rejectedTokenVersion > tokenVersion) {
    throw neverHandedOut({ pointer: '/rejected_token_version' }, tokenVersion);
  }
  if (minTokenVersion !== undefined && minTokenVersion > tokenVersion + 1) {
    throw neverHandedOut({ parameter: 'min_token_version' }, tokenVersion);
  }
  const above = [
    ...(force === true ? [tokenVersion] : []),
    ...(rejectedTokenVersion === undefined ? [] : [rejectedTokenVersion]),
    ...(minTokenVersion === undefined ? [] : [minTokenVersion - 1]),
  ];
  const accepted: Demand = {
    ...(above.length > 0 && { newerThan: Math.max(...above) }),
    ...(minTtlSeconds !== undefined && { minTtlSeconds }),
  };
  const due = asked.ifDue === true && isInsideMargin(connection, now);
  return {
    wanted: due ? { ...accepted, newerThan: tokenVersion } : accepted,
    accepted,
    trigger: triggerOf(asked),
  };
}

/**
 * Is a row enough that may trail the stored one? Whatever a caller asks beyond it, a newer version
 * included, only the stored row can tell.
 */
export function isEnoughUnread(asked: AskedDemand, token: JudgedToken, now: Date): boolean {
  const { minTokenVersion } = asked;
  if (minTokenVersion !== undefined && minTokenVersion > token.tokenVersion) return false;
  return satisfiesDemand(token, asked, token.tokenVersion, now);
}

function triggerOf(asked: AskedDemand): RefreshTrigger {
  if (asked.force === true) return 'force';
  return asked.rejectedTokenVersion === undefined ? 'read' : 'rejected';
}

function neverHandedOut(
  place: { pointer: string } | { parameter: string },
  tokenVersion: number,
): TokenManagerError {
  const detail = `is ahead of the current token_version, ${tokenVersion}`;
  return new TokenManagerError('input_validation', { errors: [{ ...place, detail }] });
}
