import type { UnstatedLifetime } from './app.ts';
import { isRefreshable, type Connection, type CredentialKind } from './connection.ts';
import { clampLifetimeSeconds, lifetimeMinSeconds, refreshDueAt } from './freshness.ts';
import { withKeepAlive } from './grant-lifetime.ts';
import type { ConnectionInput } from './registry.ts';
import type { Secret } from '../platform/secret.ts';

export interface ImportedExpiry {
  expiresAt: Date | null;
  lifetimeSeconds: number | null;
  assumed: boolean;
  refreshDueAt: Date | null;
}

/**
 * The expiry of what is stored now: the body's, the kept token's, or what `assumeLifetime`, the
 * provider's expiry policy, says of a new token without one.
 */
export function importedExpiry(
  input: ConnectionInput,
  kept: Connection | undefined,
  context: {
    credential: CredentialKind;
    tokens: { access: Secret | null; refresh: Secret | null };
    assumeLifetime: (token: UnstatedLifetime) => {
      lifetimeSeconds: number | null;
      assumed: boolean;
    };
    now: Date;
    fraction: number;
    /** How often the refresh token is to be used, however long the access token lives; null: as it may be. */
    keepAliveSeconds: number | null;
  },
): ImportedExpiry {
  const expiry = accessTokenExpiry(input, kept, context);
  const { tokens, now, fraction, keepAliveSeconds } = context;
  if (tokens.refresh === null) return expiry;
  const refreshToken = { usedAt: now, keepAliveSeconds, fraction };
  return { ...expiry, refreshDueAt: withKeepAlive(expiry.refreshDueAt, refreshToken) };
}

function accessTokenExpiry(
  input: ConnectionInput,
  kept: Connection | undefined,
  context: Parameters<typeof importedExpiry>[2],
): ImportedExpiry {
  const { credential, tokens, assumeLifetime, now, fraction } = context;
  if (tokens.access === null) {
    return { expiresAt: null, lifetimeSeconds: null, assumed: false, refreshDueAt: now };
  }
  const canRefresh = isRefreshable({
    credential,
    hasAccessToken: true,
    hasRefreshToken: tokens.refresh !== null,
  });
  const dueAt = (expiresAt: Date | null, lifetimeSeconds: number | null): Date | null =>
    expiresAt === null || !canRefresh
      ? null
      : refreshDueAt({
          expiresAt,
          lifetimeSeconds: lifetimeSeconds ?? lifetimeMinSeconds,
          now,
          fraction,
        });

  if (input.accessToken === undefined && kept !== undefined) {
    const { expiresAt, lifetimeSeconds, expiryAssumed } = kept;
    // A verdict, or the want of a refresh token, may have taken the due time away.
    const due = kept.refreshDueAt ?? dueAt(expiresAt, lifetimeSeconds);
    return { expiresAt, lifetimeSeconds, assumed: expiryAssumed, refreshDueAt: due };
  }
  const given = givenLifetimeSeconds(input, now);
  if (given !== null && given <= 0) {
    // It has expired already. For how long it was issued nobody knows: no rule may build on the 0.
    const expiresAt = after(now, given);
    const due = dueAt(expiresAt, null);
    return { expiresAt, lifetimeSeconds: null, assumed: false, refreshDueAt: due };
  }
  const { lifetimeSeconds, assumed } =
    given === null
      ? assumeLifetime({
          accessToken: tokens.access,
          lastLifetimeSeconds: kept?.lifetimeSeconds ?? null,
          canRefresh,
          now,
        })
      : { lifetimeSeconds: clampLifetimeSeconds(given), assumed: false };
  const expiresAt = lifetimeSeconds === null ? null : after(now, lifetimeSeconds);
  const due = dueAt(expiresAt, lifetimeSeconds);
  return { expiresAt, lifetimeSeconds, assumed, refreshDueAt: due };
}

function givenLifetimeSeconds(input: ConnectionInput, now: Date): number | null {
  if (input.expiresAt === undefined) return input.expiresInSeconds ?? null;
  return (input.expiresAt.getTime() - now.getTime()) / 1_000;
}

function after(instant: Date, seconds: number): Date {
  return new Date(instant.getTime() + 1_000 * seconds);
}
