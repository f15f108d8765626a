import type { Secret } from '../platform/secret.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import type { ExtractedTokens } from './token-answer.ts';

const assumedLifetimeSeconds = 3_600;
const msPerSecond = 1_000;

export interface ResolvedLifetime {
  /** From `sentAt`, clamped; null: the access token does not expire. */
  lifetimeSeconds: number | null;
  /** The answer named none, and the policy chose. */
  assumed: boolean;
}

/**
 * The lifetime of a new access token. What the answer says; else the definition's default, the last
 * lifetime seen, the `exp` of a JWT, or an hour. Null only if the definition says that tokens never
 * expire, or if nothing is known and there is no refresh token to renew it with. `clamp` bounds a
 * lifetime and answers null for none (clampLifetimeSeconds of connections/freshness.ts).
 */
export function resolveLifetime(facts: {
  definition: ProviderDefinition;
  tokens: Pick<ExtractedTokens, 'accessToken' | 'expiresInSeconds' | 'expiresAt'>;
  lastLifetimeSeconds: number | null;
  hasRefreshToken: boolean;
  sentAt: Date;
  clamp: (seconds: number | null) => number | null;
}): ResolvedLifetime {
  const { definition, tokens, sentAt, clamp } = facts;
  if (definition.expiry.never) return { lifetimeSeconds: null, assumed: false };
  const skewed = (seconds: number | null): number | null =>
    clamp(seconds === null ? null : seconds - definition.expiry.skewSeconds);

  const named = skewed(
    tokens.expiresInSeconds ?? secondsUntil(tokens.expiresAt?.getTime() ?? null, sentAt),
  );
  if (named !== null) return { lifetimeSeconds: named, assumed: false };
  const known =
    skewed(definition.expiry.defaultTtlSeconds) ??
    // It was skewed when it was stored.
    clamp(facts.lastLifetimeSeconds) ??
    skewed(secondsUntil(jwtExpiryMs(tokens.accessToken), sentAt));
  if (known !== null) return { lifetimeSeconds: known, assumed: true };
  if (!facts.hasRefreshToken) return { lifetimeSeconds: null, assumed: true };
  return { lifetimeSeconds: skewed(assumedLifetimeSeconds), assumed: true };
}

function secondsUntil(expiryMs: number | null, sentAt: Date): number | null {
  return expiryMs === null ? null : (expiryMs - sentAt.getTime()) / msPerSecond;
}

/** `exp` of an access token that is a JWT, unverified: it is only a hint of when to refresh. */
function jwtExpiryMs(accessToken: Secret | null): number | null {
  const [, payload, signature] = accessToken?.reveal().split('.') ?? [];
  if (payload === undefined || signature === undefined) return null;
  try {
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as unknown;
    const exp =
      typeof claims === 'object' && claims !== null && 'exp' in claims ? claims.exp : null;
    return typeof exp === 'number' ? exp * msPerSecond : null;
  } catch {
    return null;
  }
}
