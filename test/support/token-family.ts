import { randomBytes } from 'node:crypto';

export interface IssuedTokens {
  accessToken: string;
  refreshToken: string;
}

/**
 * What becomes of a refresh token that was used: F it is spent, and using it again revokes the family;
 * T it is spent; C it works until something of a pair that it brought is used; L it goes on working beside
 * the new one; S there is no other.
 */
export type FamilyRotation = 'F' | 'T' | 'C' | 'L' | 'S';

interface Family {
  current: string;
  /** Class C: the pairs that `current` brought, of which nothing has been used yet. */
  unused: IssuedTokens[];
  isRevoked: boolean;
}

/** Ground truth of a token family: what really happened at the provider. */
export interface FamilyTruth {
  /** Successful refreshes. */
  exchanges: number;
  /** Requests with a refresh token that was already spent. */
  reuse: number;
  familyRevocations: number;
}

/** Token families in memory, by default of rotation class F: single use, and reuse revokes the family. */
export function createTokenFamilies(rotation: FamilyRotation = 'F') {
  const families = new Map<string, Family>();
  const familiesByAccessToken = new Map<string, Family>();
  const spent = new Set<string>();
  const truth: FamilyTruth = { exchanges: 0, reuse: 0, familyRevocations: 0 };

  function issue(family: Family, kept?: string): IssuedTokens {
    const refreshToken = kept ?? `rt-${randomBytes(16).toString('hex')}`;
    const accessToken = `at-${randomBytes(16).toString('hex')}`;
    families.set(refreshToken, family);
    familiesByAccessToken.set(accessToken, family);
    return { accessToken, refreshToken };
  }

  function isUsable(refreshToken: string): boolean {
    const family = families.get(refreshToken);
    if (family === undefined || family.isRevoked) return false;
    if (rotation === 'S' || rotation === 'L') return true;
    return family.current === refreshToken || unusedPair(family, { refreshToken }) !== undefined;
  }

  function unusedPair(family: Family, used: Partial<IssuedTokens>): IssuedTokens | undefined {
    return family.unused.find(
      ({ accessToken, refreshToken }) =>
        refreshToken === used.refreshToken || accessToken === used.accessToken,
    );
  }

  /** Class C: whatever was issued beside the pair, or before it, is dead from now on. */
  function retireOthers(family: Family, used: Partial<IssuedTokens>): void {
    const pair = unusedPair(family, used);
    if (pair === undefined) return;
    family.current = pair.refreshToken;
    family.unused = [];
  }

  return {
    truth,
    grant(): IssuedTokens {
      const family: Family = { current: '', unused: [], isRevoked: false };
      const tokens = issue(family);
      family.current = tokens.refreshToken;
      return tokens;
    },
    /** Whether the token would be exchanged. */
    isUsable,
    /** Whether the token was exchanged. */
    wasSpent: (refreshToken: string): boolean => spent.has(refreshToken),
    isRevoked: (refreshToken: string): boolean => families.get(refreshToken)?.isRevoked === true,
    areRelated: (one: string, other: string): boolean => families.get(one) === families.get(other),
    /** The next pair, or null: `invalid_grant`. One turn of the event loop, and so atomic. */
    rotate(refreshToken: string): IssuedTokens | null {
      const family = families.get(refreshToken);
      if (family === undefined || family.isRevoked) return null;
      if (!isUsable(refreshToken)) {
        truth.reuse += 1;
        if (rotation !== 'F') return null;
        truth.familyRevocations += 1;
        family.isRevoked = true;
        return null;
      }
      truth.exchanges += 1;
      spent.add(refreshToken);
      if (rotation === 'S') return issue(family, refreshToken);
      retireOthers(family, { refreshToken });
      const tokens = issue(family);
      if (rotation === 'C') family.unused.push(tokens);
      else family.current = tokens.refreshToken;
      return tokens;
    },
    /** A call of the provider's API with the access token. */
    useAccessToken(accessToken: string): void {
      const family = familiesByAccessToken.get(accessToken);
      if (family !== undefined) retireOthers(family, { accessToken });
    },
  };
}
