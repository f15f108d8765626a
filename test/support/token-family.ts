import { randomBytes } from 'node:crypto';

export interface IssuedTokens {
  accessToken: string;
  refreshToken: string;
}

/**
 * What becomes of a refresh token that was used: F it is spent, and using it again revokes the family;
 * T it is spent; C it works until a token that it brought is used; L it goes on working.
 */
export type FamilyRotation = 'F' | 'T' | 'C' | 'L';

interface Family {
  /** The tokens that would be exchanged. */
  usable: Set<string>;
  /** Class C: the token that brought the other usable ones. */
  parent: string | null;
  isRevoked: boolean;
}

/** Ground truth of a token family: what really happened at the provider. */
export interface FamilyTruth {
  /** Successful rotations. */
  exchanges: number;
  /** Requests with a refresh token that was already spent. */
  reuse: number;
  familyRevocations: number;
}

/** Token families in memory, by default of rotation class F. */
export function createTokenFamilies(rotation: FamilyRotation = 'F') {
  const families = new Map<string, Family>();
  const spent = new Set<string>();
  const truth: FamilyTruth = { exchanges: 0, reuse: 0, familyRevocations: 0 };

  function issue(family: Family): IssuedTokens {
    const refreshToken = `rt-${randomBytes(16).toString('hex')}`;
    family.usable.add(refreshToken);
    families.set(refreshToken, family);
    return { accessToken: `at-${randomBytes(16).toString('hex')}`, refreshToken };
  }

  /** What the use of a token does to it and its siblings. */
  function spend(family: Family, refreshToken: string): void {
    spent.add(refreshToken);
    if (rotation === 'L' || family.parent === refreshToken) return;
    family.usable.clear();
    if (rotation !== 'C') return;
    family.usable.add(refreshToken);
    family.parent = refreshToken;
  }

  return {
    truth,
    grant: (): IssuedTokens => issue({ usable: new Set(), parent: null, isRevoked: false }),
    /** Whether the token would be exchanged. */
    isUsable: (refreshToken: string): boolean =>
      families.get(refreshToken)?.usable.has(refreshToken) === true,
    /** Whether the token was exchanged. */
    wasSpent: (refreshToken: string): boolean => spent.has(refreshToken),
    isRevoked: (refreshToken: string): boolean => families.get(refreshToken)?.isRevoked === true,
    areRelated: (one: string, other: string): boolean => families.get(one) === families.get(other),
    /** The next pair, or null: `invalid_grant`. One turn of the event loop, and so atomic. */
    rotate(refreshToken: string): IssuedTokens | null {
      const family = families.get(refreshToken);
      if (family === undefined || family.isRevoked) return null;
      if (family.usable.has(refreshToken)) {
        truth.exchanges += 1;
        spend(family, refreshToken);
        return issue(family);
      }
      truth.reuse += 1;
      if (rotation !== 'F') return null;
      truth.familyRevocations += 1;
      family.isRevoked = true;
      family.usable.clear();
      return null;
    },
  };
}
