import { describe, expect, it } from 'vitest';
import type { UnstatedLifetime } from '../../connections/app.ts';
import type { Connection, CredentialKind } from '../../connections/connection.ts';
import { importedExpiry } from '../../connections/import-expiry.ts';
import type { ConnectionInput } from '../../connections/registry.ts';
import { Secret } from '../../platform/secret.ts';
import { readAt, sampleConnection, secondsLater } from './sample-connection.ts';

const access = new Secret('at');
const refresh = new Secret('rt');
const nothing = { expiresAt: null, lifetimeSeconds: null, assumed: false };

/** Imports at `readAt`, without jitter; the policy says 100 s unless the test says otherwise. */
function importAt(
  body: Partial<ConnectionInput>,
  options: {
    kept?: Partial<Connection>;
    held?: { access?: Secret; refresh?: Secret };
    credential?: CredentialKind;
    policy?: number | null;
    keepAliveSeconds?: number;
  } = {},
) {
  const { held = {}, credential = 'refresh_token', policy = 100 } = options;
  const asked: UnstatedLifetime[] = [];
  const expiry = importedExpiry(
    { tenantId: 't1', appId: 'a1', ...body },
    options.kept && sampleConnection(options.kept),
    {
      credential,
      tokens: {
        access: body.accessToken ?? held.access ?? null,
        refresh: body.refreshToken ?? held.refresh ?? null,
      },
      assumeLifetime(token) {
        asked.push(token);
        return { lifetimeSeconds: policy, assumed: policy !== null };
      },
      now: readAt,
      fraction: 0,
      keepAliveSeconds: options.keepAliveSeconds ?? null,
    },
  );
  return { expiry, asked };
}

describe('the expiry of imported tokens', () => {
  it('is the one of the body, in seconds', () => {
    const { expiry, asked } = importAt({
      accessToken: access,
      refreshToken: refresh,
      expiresInSeconds: 3_600,
    });
    expect(expiry).toEqual({
      expiresAt: secondsLater(3_600),
      lifetimeSeconds: 3_600,
      assumed: false,
      refreshDueAt: secondsLater(3_300),
    });
    expect(asked).toEqual([]);
  });

  it('is the one of the body, as an instant', () => {
    const { expiry } = importAt({
      accessToken: access,
      refreshToken: refresh,
      expiresAt: secondsLater(60),
    });
    expect(expiry).toMatchObject({ expiresAt: secondsLater(60), lifetimeSeconds: 60 });
  });

  it('is clamped to ten years', () => {
    const { expiry } = importAt({ accessToken: access, expiresInSeconds: 1e12 });
    expect(expiry).toMatchObject({ lifetimeSeconds: 10 * 365 * 86_400 });
  });

  it.each([
    ['now', { expiresInSeconds: 0 }, 0],
    ['long ago', { expiresAt: secondsLater(-7_200) }, -7_200],
  ])(
    'that has passed %s is kept, and says nothing of the lifetime as issued',
    (_name, body, seconds) => {
      const { expiry } = importAt({ accessToken: access, refreshToken: refresh, ...body });
      expect(expiry).toEqual({
        expiresAt: secondsLater(seconds),
        lifetimeSeconds: null,
        assumed: false,
        refreshDueAt: secondsLater(1),
      });
    },
  );

  it('is the policy of the provider where the body names none', () => {
    const { expiry, asked } = importAt(
      { accessToken: access, refreshToken: refresh },
      { kept: { lifetimeSeconds: 900 } },
    );
    expect(expiry).toEqual({
      expiresAt: secondsLater(100),
      lifetimeSeconds: 100,
      assumed: true,
      refreshDueAt: secondsLater(90),
    });
    expect(asked).toEqual([
      { accessToken: access, lastLifetimeSeconds: 900, canRefresh: true, now: readAt },
    ]);
  });

  it('is none where the policy knows none', () => {
    const { expiry } = importAt({ accessToken: access, refreshToken: refresh }, { policy: null });
    expect(expiry).toEqual({ ...nothing, refreshDueAt: null });
  });

  it.each<[CredentialKind, Secret | undefined, boolean]>([
    ['refresh_token', refresh, true],
    ['refresh_token', undefined, false],
    ['client', undefined, true],
    ['access_token', undefined, true],
  ])('of a %s with refresh token %s: renewable %s', (credential, refreshToken, canRefresh) => {
    const { expiry, asked } = importAt(
      { accessToken: access, ...(refreshToken && { refreshToken }) },
      { credential },
    );
    expect(asked[0]).toMatchObject({ canRefresh, lastLifetimeSeconds: null });
    expect(expiry.refreshDueAt === null).toBe(!canRefresh);
  });

  it('is due at once where there is no access token', () => {
    expect(importAt({ refreshToken: refresh }).expiry).toEqual({
      ...nothing,
      refreshDueAt: readAt,
    });
  });

  it('stays with the access token that is kept', () => {
    const kept = { expiresAt: secondsLater(50), lifetimeSeconds: 70, expiryAssumed: true };
    const body = { refreshToken: refresh, expiresInSeconds: 5 };
    const { expiry } = importAt(body, { kept, held: { access } });
    expect(expiry).toEqual({
      expiresAt: secondsLater(50),
      lifetimeSeconds: 70,
      assumed: true,
      refreshDueAt: secondsLater(1_500),
    });
  });

  it('gives a due time back to a kept access token that had lost it', () => {
    const kept = { refreshDueAt: null, expiresAt: secondsLater(1_000), lifetimeSeconds: 2_000 };
    const { expiry } = importAt({ refreshToken: refresh }, { kept, held: { access } });
    expect(expiry.refreshDueAt).toEqual(secondsLater(800));
  });
});
