import { randomBytes } from 'node:crypto';

export interface IssuedTokens {
  accessToken: string;
  refreshToken: string;
}

interface Family {
  current: string;
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

/** Rotation class F in memory: single-use refresh tokens, and reuse revokes the family. */
export function createTokenFamilies() {
  const families = new Map<string, Family>();
  const truth: FamilyTruth = { exchanges: 0, reuse: 0, familyRevocations: 0 };

  function issue(family: Family): IssuedTokens {
    family.current = `rt-${randomBytes(16).toString('hex')}`;
    families.set(family.current, family);
    return {
      accessToken: `at-${randomBytes(16).toString('hex')}`,
      refreshToken: family.current,
    };
  }

  return {
    truth,
    grant: (): IssuedTokens => issue({ current: '', isRevoked: false }),
    /** The next pair, or null: `invalid_grant`. One turn of the event loop, and so atomic. */
    rotate(refreshToken: string): IssuedTokens | null {
      const family = families.get(refreshToken);
      if (family === undefined || family.isRevoked) return null;
      if (family.current === refreshToken) {
        truth.exchanges += 1;
        return issue(family);
      }
      truth.reuse += 1;
      truth.familyRevocations += 1;
      family.isRevoked = true;
      return null;
    },
  };
}
