import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  connectionStatus,
  holdsValidToken,
  isRefreshable,
  reauthorizationReason,
  waitingReason,
  type Connection,
} from '../../connections/connection.ts';
import { readAt, sampleConnection, sampleFailure, secondsLater } from './sample-connection.ts';

const now = readAt;
const lapsed = { expiresAt: secondsLater(-1) };
const noRefreshToken = { hasRefreshToken: false };

/** What raises each status, the strongest first. */
const precedence = [
  ['revoking', { deletedAt: now }],
  ['paused', { pausedAt: now }],
  ['reauthorization_required', { verdict: 'revoked' }],
  ['uncertain', { uncertainSince: now }],
] as const;

describe('the status of a connection', () => {
  it('is the strongest of what is recorded, and active where nothing is', () => {
    fc.assert(
      fc.property(fc.subarray([...precedence]), (recorded) => {
        const members = recorded.reduce<Partial<Connection>>(
          (all, [, member]) => ({ ...all, ...member }),
          {},
        );
        const [strongest] = recorded;
        expect(connectionStatus(sampleConnection(members), now)).toBe(strongest?.[0] ?? 'active');
      }),
    );
  });

  it.each<[string, Partial<Connection>, string]>([
    ['expired with a refresh token', lapsed, 'active'],
    ['expired without', { ...lapsed, ...noRefreshToken }, 'reauthorization_required'],
    ['valid without', noRefreshToken, 'active'],
    ['no token at all', { ...noRefreshToken, hasAccessToken: false }, 'reauthorization_required'],
    ['a token that never expires', { ...noRefreshToken, expiresAt: null }, 'active'],
    [
      'expiring this instant without',
      { ...noRefreshToken, expiresAt: now },
      'reauthorization_required',
    ],
    [
      'expired, uncertain, without',
      { ...lapsed, ...noRefreshToken, uncertainSince: now },
      'reauthorization_required',
    ],
    ['expired, paused, without', { ...lapsed, ...noRefreshToken, pausedAt: now }, 'paused'],
    [
      'client credentials',
      { ...noRefreshToken, credential: 'client', hasAccessToken: false },
      'active',
    ],
    [
      'an access token that is exchanged itself',
      { ...lapsed, ...noRefreshToken, credential: 'access_token' },
      'active',
    ],
  ])('with %s: %s', (_name, members, status) => {
    expect(connectionStatus(sampleConnection(members), now)).toBe(status);
  });
});

describe('why the customer is needed', () => {
  it.each<[string, Partial<Connection>, string | null]>([
    ['nothing', {}, null],
    ['the verdict', { verdict: 'lost_rotation' }, 'lost_rotation'],
    [
      'the verdict, before what is derived',
      { ...lapsed, ...noRefreshToken, verdict: 'expired' },
      'expired',
    ],
    [
      'no refresh token, once the token has expired',
      { ...lapsed, ...noRefreshToken },
      'no_refresh_token',
    ],
    ['nothing before that', noRefreshToken, null],
  ])('%s', (_name, members, reason) => {
    expect(reauthorizationReason(sampleConnection(members), now)).toBe(reason);
  });
});

describe('what can be refreshed', () => {
  it.each([
    ['refresh_token', false, true, true],
    ['refresh_token', true, false, false],
    ['access_token', true, false, true],
    ['access_token', false, true, false],
    ['client', false, false, true],
  ] as const)(
    'credential %s, access %s, refresh %s: %s',
    (credential, hasAccessToken, hasRefreshToken, can) => {
      expect(isRefreshable({ credential, hasAccessToken, hasRefreshToken })).toBe(can);
    },
  );
});

it('an access token is valid before its expiry and not at it', () => {
  expect(holdsValidToken(sampleConnection({ expiresAt: secondsLater(0.001) }), now)).toBe(true);
  expect(holdsValidToken(sampleConnection({ expiresAt: now }), now)).toBe(false);
});

describe('what a connection waits for', () => {
  it.each([
    ['misconfigured', 'invalid_client', 'app_misconfigured'],
    ['misconfigured', 'egress_refused', 'egress_refused'],
    ['rate_limited', 'http_429', 'rate_limited'],
    ['protocol_break', 'no_access_token', 'provider_answer_unusable'],
    ['transient', 'http_503', 'provider_unavailable'],
    ['transient', 'key_service_unavailable', 'key_service_unavailable'],
    ['ambiguous', 'ECONNRESET', 'provider_unavailable'],
    ['permanent', 'invalid_grant', null],
  ] as const)('after %s %s: %s', (failureClass, code, reason) => {
    expect(waitingReason(sampleFailure({ class: failureClass, code }))).toBe(reason);
  });

  it('is nothing where nothing failed', () => {
    expect(waitingReason(null)).toBeNull();
  });
});
