import { describe, expect, it } from 'vitest';
import { createTokenFamilies } from './token-family.ts';

describe('token families', () => {
  it('class F: a spent token revokes the family', () => {
    const families = createTokenFamilies('F');
    const { refreshToken } = families.grant();
    const next = families.rotate(refreshToken);
    expect(families.rotate(refreshToken)).toBeNull();
    expect(families.rotate(next?.refreshToken ?? '')).toBeNull();
    expect(families.truth).toEqual({ exchanges: 1, reuse: 1, familyRevocations: 1 });
  });

  it('class S: the token stays the same', () => {
    const families = createTokenFamilies('S');
    const { refreshToken } = families.grant();
    expect(families.rotate(refreshToken)).toMatchObject({ refreshToken });
    expect(families.rotate(refreshToken)).toMatchObject({ refreshToken });
  });

  it('class L: the old token keeps working beside the new one', () => {
    const families = createTokenFamilies('L');
    const { refreshToken } = families.grant();
    const next = families.rotate(refreshToken);
    expect(next?.refreshToken).not.toBe(refreshToken);
    expect(families.rotate(refreshToken)).not.toBeNull();
    expect(families.rotate(next?.refreshToken ?? '')).not.toBeNull();
  });

  it.each(['access token', 'refresh token'])(
    'class C: the old token works until the new %s is used',
    (used) => {
      const families = createTokenFamilies('C');
      const { refreshToken } = families.grant();
      const lost = families.rotate(refreshToken);
      const newest = families.rotate(refreshToken);
      if (used === 'access token') families.useAccessToken(newest?.accessToken ?? '');
      else expect(families.rotate(newest?.refreshToken ?? '')).not.toBeNull();
      expect(families.rotate(lost?.refreshToken ?? '')).toBeNull();
      expect(families.rotate(refreshToken)).toBeNull();
      if (used === 'access token') {
        expect(families.rotate(newest?.refreshToken ?? '')).not.toBeNull();
      }
      expect(families.truth).toEqual({ exchanges: 3, reuse: 2, familyRevocations: 0 });
    },
  );
});
