import type { Scope } from './caller.ts';

/** The ways in which a caller shows itself: a bearer key, or with mutual TLS a certificate. */
export const securitySchemes = {
  bearerKey: {
    type: 'http',
    scheme: 'bearer',
    description:
      'A key made by `token-manager callers add`; not with TLS_MODE=mtls. Without a policy file the service listens on loopback only, and needs none.',
  },
  mutualTls: {
    type: 'mutualTLS',
    description: 'With TLS_MODE=mtls the client certificate is the caller.',
  },
} as const;

/**
 * Requirements of an operation: either scheme, with these scopes in the policy; or nothing, for a service
 * without a policy knows no callers.
 */
export function scopes(...names: Scope[]): Record<string, string[]>[] {
  const schemes = Object.keys(securitySchemes);
  return [...schemes.map((scheme): Record<string, string[]> => ({ [scheme]: names })), {}];
}
