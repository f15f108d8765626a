import type { GrantLifetime } from '../connections/grant-lifetime.ts';
import type { AmbiguityRules, AssertionRules } from './provider-definition.ts';
import type { WireDefinition } from './provider-schema.ts';
import type { Rotation } from './rotation.ts';

/** The claims of client assertions, with their algorithm. */
export function toAssertionRules(wire: WireDefinition): AssertionRules {
  const defaultAlg = wire.client_auth === 'client_secret_jwt' ? 'HS256' : 'RS256';
  return {
    alg: wire.assertion?.alg ?? defaultAlg,
    iss: wire.assertion?.iss ?? null,
    aud: wire.assertion?.aud ?? null,
  };
}

/** What is done about a lost answer, with the probe that the definition makes possible. */
export function toAmbiguityRules(wire: WireDefinition): AmbiguityRules {
  const canProbe = wire.introspect_url !== undefined && wire.credential === 'refresh_token';
  return {
    policy: wire.ambiguity.policy,
    probe: wire.ambiguity.probe ?? (canProbe ? 'introspection' : 'none'),
    confirmAfterSeconds: wire.ambiguity.confirm_after_seconds ?? null,
  };
}

/** The rotation rule, with its default class. */
export function toRotation(wire: Pick<WireDefinition, 'credential' | 'rotation'>): Rotation {
  // The strictest class is the default; client credentials are not spent by being used.
  const defaultClass = wire.credential === 'client' ? 'S' : 'F';
  return {
    class: wire.rotation.class ?? defaultClass,
    graceSeconds: wire.rotation.grace_seconds ?? null,
    oldAccessTokenDies: wire.rotation.old_access_token_dies,
  };
}

/** An idle refresh token is used when this much of its life is over: of 60 days, after 55. */
export const keepAliveShare = 11 / 12;

/** How often an idle refresh token is to be used, and when the grant ends whatever is done. */
export function toGrantLifetime({ lifetime }: Pick<WireDefinition, 'lifetime'>): GrantLifetime {
  const idleSeconds = lifetime.refresh_token_idle_seconds;
  return {
    keepAliveSeconds:
      lifetime.keep_alive_seconds ??
      (idleSeconds === undefined ? null : idleSeconds * keepAliveShare),
    absoluteSeconds: lifetime.refresh_token_absolute_seconds ?? null,
  };
}
