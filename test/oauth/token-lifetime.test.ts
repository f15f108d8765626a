import { describe, expect, it } from 'vitest';
import { clampLifetimeSeconds } from '../../connections/freshness.ts';
import { resolveLifetime } from '../../oauth/token-lifetime.ts';
import { Secret } from '../../platform/secret.ts';
import { defineProvider } from './definitions.ts';

const sentAt = new Date('2026-11-23T12:00:00Z');
const jwt = (claims: object) =>
  `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`;

interface Given {
  expiry?: Record<string, unknown>;
  expiresIn?: number;
  expiresAt?: string;
  accessToken?: string;
  last?: number;
  hasRefreshToken?: boolean;
}

function resolve(given: Given) {
  return resolveLifetime({
    definition: defineProvider({ expiry: given.expiry ?? {} }),
    tokens: {
      accessToken: new Secret(given.accessToken ?? 'opaque'),
      expiresInSeconds: given.expiresIn ?? null,
      expiresAt: given.expiresAt === undefined ? null : new Date(given.expiresAt),
    },
    lastLifetimeSeconds: given.last ?? null,
    hasRefreshToken: given.hasRefreshToken ?? true,
    sentAt,
    clamp: clampLifetimeSeconds,
  });
}

const exp = sentAt.getTime() / 1_000 + 900;

describe('resolveLifetime', () => {
  it.each<[string, Given, number | null, boolean]>([
    [
      'what the answer says',
      { expiresIn: 60, last: 9, expiry: { default_ttl_seconds: 8 } },
      60,
      false,
    ],
    ['the instant it names, from sentAt', { expiresAt: '2026-11-23T12:30:00Z' }, 1_800, false],
    ['R13 zero, clamped', { expiresIn: 0 }, 1, false],
    ['R13 a negative number, clamped', { expiresIn: -1 }, 1, false],
    ['R13 1e12, clamped to ten years', { expiresIn: 1e12 }, 10 * 365 * 86_400, false],
    ['the skew taken off', { expiresIn: 60, expiry: { skew_seconds: 10 } }, 50, false],
    ['R11 the default', { expiry: { default_ttl_seconds: 3_600, skew_seconds: 60 } }, 3_540, true],
    ['the default before the last', { expiry: { default_ttl_seconds: 8 }, last: 9 }, 8, true],
    ['the last one seen', { last: 1_800, accessToken: jwt({ exp }) }, 1_800, true],
    ['the exp of a JWT', { accessToken: jwt({ exp }) }, 900, true],
    ['an hour for a JWT without exp', { accessToken: jwt({ exp: 'x' }) }, 3_600, true],
    ['an hour for what only looks like one', { accessToken: 'a.b.c' }, 3_600, true],
    ['an hour', {}, 3_600, true],
    ['none without a refresh token', { hasRefreshToken: false }, null, true],
    ['a default without a refresh token', { hasRefreshToken: false, last: 5 }, 5, true],
    ['none where tokens never expire', { expiresIn: 0, expiry: { never: true } }, null, false],
  ])('answers %s', (_name, given, lifetimeSeconds, assumed) => {
    expect(resolve(given)).toEqual({ lifetimeSeconds, assumed });
  });
});
