import type { Secret } from '../platform/secret.ts';
import type { ProviderFacts } from './app.ts';
import type { Connection } from './connection.ts';
import { clampLifetimeSeconds, refreshDueAt } from './freshness.ts';
import type { ConnectionInput } from './registry.ts';

const assumedTtlSeconds = 3_600;

interface ImportedExpiry {
  expiresAt: Date | null;
  lifetimeSeconds: number | null;
  assumed: boolean;
  refreshDueAt: Date | null;
}

/** The expiry of what is stored now: the body's, the kept token's, or the provider's expiry policy. */
export function importedExpiry(
  input: ConnectionInput,
  kept: Connection | undefined,
  context: {
    facts: ProviderFacts;
    tokens: { access: Secret | null; refresh: Secret | null };
    now: Date;
    fraction: number;
  },
): ImportedExpiry {
  const { facts, tokens, now, fraction } = context;
  if (tokens.access === null) {
    return { expiresAt: null, lifetimeSeconds: null, assumed: false, refreshDueAt: now };
  }
  if (input.accessToken === undefined && kept !== undefined) {
    return {
      expiresAt: kept.expiresAt,
      lifetimeSeconds: kept.lifetimeSeconds,
      assumed: kept.expiryAssumed,
      refreshDueAt: kept.refreshDueAt,
    };
  }
  const given = givenLifetimeSeconds(input, now);
  const canRefresh = tokens.refresh !== null || facts.credential !== 'refresh_token';
  if (given === null && (facts.neverExpires || !canRefresh)) {
    return { expiresAt: null, lifetimeSeconds: null, assumed: false, refreshDueAt: null };
  }
  const policy = facts.defaultTtlSeconds ?? kept?.lifetimeSeconds ?? assumedTtlSeconds;
  const lifetimeSeconds = Math.max(given ?? policy, 0);
  const expiresAt = new Date(now.getTime() + 1_000 * lifetimeSeconds);
  const due = refreshDueAt({ expiresAt, lifetimeSeconds, now, fraction });
  return {
    expiresAt,
    lifetimeSeconds,
    assumed: given === null,
    refreshDueAt: canRefresh ? due : null,
  };
}

/** An import may bring a token that has expired already: 0 or less is kept as it is, not clamped up. */
function givenLifetimeSeconds(input: ConnectionInput, now: Date): number | null {
  const seconds =
    input.expiresAt === undefined
      ? (input.expiresInSeconds ?? null)
      : (input.expiresAt.getTime() - now.getTime()) / 1_000;
  if (seconds === null) return null;
  return seconds <= 0 ? seconds : clampLifetimeSeconds(seconds);
}
