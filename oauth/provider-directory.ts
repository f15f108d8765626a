import type { RotationClass } from '../connections/connection.ts';
import type { ProviderDescription, ProviderDirectory } from '../connections/provider-directory.ts';
import { toRotation } from './definition-rules.ts';
import type { ProviderCatalogue } from './provider-catalogue.ts';

/** What a rotation class says of the refresh token that was just used, for people. */
const rotationMeanings: Record<RotationClass, string> = {
  S: 'The refresh token stays; an answer brings none, or the same again.',
  L: 'An answer brings a new refresh token, and the old one goes on working.',
  T: 'The old refresh token works for grace_seconds after its first use.',
  C: 'The old refresh token works until the new pair is first used.',
  X: 'A refresh token is used once; a second use is refused and harms nothing else.',
  F: 'A refresh token is used once; a second use ends the whole grant.',
};

type Written = NonNullable<ReturnType<ProviderCatalogue['written']>>;

/** The catalogue as `GET /v1/providers` tells it. */
export function createProviderDirectory(
  catalogue: Pick<ProviderCatalogue, 'names' | 'written'>,
): ProviderDirectory {
  const get = (name: string): ProviderDescription | undefined => {
    const written = catalogue.written(name);
    return written && describe(name, written);
  };
  return {
    list: () => catalogue.names().flatMap((name) => get(name) ?? []),
    get,
  };
}

function describe(name: string, written: Written): ProviderDescription {
  const rotation = toRotation(written);
  const { expiry, lifetime, limits } = written;
  return {
    name,
    displayName: written.display_name ?? null,
    docs: written.docs,
    credential: written.credential,
    clientAuth: written.client_auth,
    dpop: written.dpop,
    tokenUrl: written.token_url,
    allowedHosts: written.allowed_hosts ?? null,
    variables: written.variables,
    rotation: { ...rotation, meaning: rotationMeanings[rotation.class] },
    lifetimes: {
      accessTokenDefaultSeconds: expiry.default_ttl_seconds ?? null,
      accessTokenNeverExpires: expiry.never,
      refreshTokenIdleSeconds: lifetime.refresh_token_idle_seconds ?? null,
      refreshTokenAbsoluteSeconds: lifetime.refresh_token_absolute_seconds ?? null,
      keepAliveSeconds: lifetime.keep_alive_seconds ?? null,
    },
    limits: {
      minIntervalSeconds: limits.min_interval_seconds,
      perWindow: limits.per_window ?? null,
      concurrency: limits.concurrency ?? null,
    },
  };
}
