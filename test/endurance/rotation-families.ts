import { randomBytes } from 'node:crypto';
import type { RotationClass } from '../../connections/connection.ts';

export interface FamilyLedger {
  class: RotationClass;
  /** Refreshes that were answered with tokens. */
  exchanges: number;
  /** Spent tokens that came again where the class still takes them. */
  replays_allowed: number;
  /** Spent tokens that came again and were refused. */
  replays_forbidden: number;
  family_revocations: number;
  live_refresh_tokens: number;
}

export interface IssuedPair {
  access_token: string;
  refresh_token: string;
  expires_in: number;
}

interface Family {
  ledger: FamilyLedger;
  expiresIn: number;
  isRevoked: boolean;
  /** Class T and C: the token that all live ones descend from; X, F: the only live one. */
  current: string;
  /** Class C: what `current` brought and nobody has used. */
  unused: Set<string>;
}

interface RefreshToken {
  family: Family;
  firstSpentAtMs: number | null;
}

/** Token families of all six rotation classes in memory: what a provider knows about its grants. */
export function createRotationFamilies(options: { graceMs: number; nowMs: () => number }) {
  const { graceMs, nowMs } = options;
  const tokens = new Map<string, RefreshToken>();
  const families = new Map<string, Family>();

  function issue(family: Family, kept?: string): IssuedPair {
    const refreshToken = kept ?? `rt-${randomBytes(16).toString('hex')}`;
    if (kept === undefined) tokens.set(refreshToken, { family, firstSpentAtMs: null });
    return {
      access_token: `at-${randomBytes(16).toString('hex')}`,
      refresh_token: refreshToken,
      expires_in: family.expiresIn,
    };
  }

  function isUsable(refreshToken: string, { family, firstSpentAtMs }: RefreshToken): boolean {
    if (family.isRevoked) return false;
    switch (family.ledger.class) {
      case 'S':
      case 'L':
        return true;
      case 'C':
        return family.current === refreshToken || family.unused.has(refreshToken);
      case 'T':
        if (family.current === refreshToken) return true;
        return firstSpentAtMs !== null && nowMs() - firstSpentAtMs < graceMs;
      case 'X':
      case 'F':
        return family.current === refreshToken;
    }
  }

  return {
    grant(connectionId: string, rotationClass: RotationClass, expiresIn: number): IssuedPair {
      const earlier = families.get(connectionId)?.ledger;
      const family: Family = {
        ledger: earlier ?? {
          class: rotationClass,
          exchanges: 0,
          replays_allowed: 0,
          replays_forbidden: 0,
          family_revocations: 0,
          live_refresh_tokens: 0,
        },
        expiresIn,
        isRevoked: false,
        current: '',
        unused: new Set(),
      };
      const pair = issue(family);
      family.current = pair.refresh_token;
      families.set(connectionId, family);
      return pair;
    },
    /** The next pair, or null: `invalid_grant`. One turn of the event loop, and so atomic. */
    exchange(refreshToken: string): IssuedPair | null {
      const token = tokens.get(refreshToken);
      if (token === undefined) return null;
      const { family } = token;
      const { ledger } = family;
      const isSpent = token.firstSpentAtMs !== null && ledger.class !== 'S';
      if (!isUsable(refreshToken, token)) {
        ledger.replays_forbidden += 1;
        if (ledger.class === 'F' && !family.isRevoked) {
          family.isRevoked = true;
          ledger.family_revocations += 1;
        }
        return null;
      }
      ledger.exchanges += 1;
      if (isSpent) ledger.replays_allowed += 1;
      token.firstSpentAtMs ??= nowMs();
      if (ledger.class === 'S') return issue(family, refreshToken);
      if (family.unused.has(refreshToken)) {
        family.unused.clear();
        family.current = refreshToken;
      }
      const pair = issue(family);
      if (ledger.class === 'C') family.unused.add(pair.refresh_token);
      else family.current = pair.refresh_token;
      return pair;
    },
    /** RFC 7662: would the token be exchanged? */
    isActive(refreshToken: string): boolean {
      const token = tokens.get(refreshToken);
      return token !== undefined && isUsable(refreshToken, token);
    },
    ledger(): Record<string, FamilyLedger> {
      const live = new Map<Family, number>();
      for (const [value, token] of tokens) {
        if (isUsable(value, token)) live.set(token.family, (live.get(token.family) ?? 0) + 1);
      }
      return Object.fromEntries(
        [...families].map(([id, family]) => [
          id,
          { ...family.ledger, live_refresh_tokens: live.get(family) ?? 0 },
        ]),
      );
    },
  };
}
