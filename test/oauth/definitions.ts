import { randomUUID } from 'node:crypto';
import {
  createEgressGuard,
  parseEgressAllow,
  type EgressGuard,
  type Lookup,
} from '../../oauth/egress.ts';
import { parseProviderDefinition } from '../../oauth/parse-provider-definition.ts';
import type { ProviderDefinition } from '../../oauth/provider-definition.ts';
import type { TokenAnswer } from '../../oauth/provider-answer.ts';
import { createTokenEndpoint, type TokenConnection } from '../../oauth/token-endpoint.ts';
import type { TokenRequest } from '../../oauth/provider-request.ts';
import { systemClock } from '../../platform/clock.ts';
import { Secret } from '../../platform/secret.ts';

/** A client that has nothing but a secret. */
export const noKeys = {
  privateKey: null,
  clientCertificate: null,
  dpopKey: null,
  accessToken: null,
};

/** A definition that needs nothing but what the test is about. */
export function defineProvider(members: Record<string, unknown> = {}): ProviderDefinition {
  return parseProviderDefinition({ token_url: 'https://as.example.com/token', ...members });
}

/** An answer as the token endpoint would hand it over; objects become JSON. */
export function answerOf(
  body: string | object,
  options: { status?: number; headers?: Record<string, string> } = {},
): TokenAnswer {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const { status = 200, headers = {} } = options;
  return { kind: 'answer', status, headers, body: new Secret(text) };
}

/** Loopback is allowed; names resolve only as the test says. */
export function loopbackEgress(options: { allow?: string; lookup?: Lookup } = {}): EgressGuard {
  const { allow = '127.0.0.0/8', lookup = () => Promise.resolve(['127.0.0.1']) } = options;
  return createEgressGuard({ allow: parseEgressAllow(allow), lookup });
}

export interface ExchangeOptions extends Partial<Omit<TokenRequest, 'definition'>> {
  definition: ProviderDefinition;
  egress?: EgressGuard;
  trustedCertificates?: string;
  deadlineMs?: number;
  mayStillSend?: () => boolean;
}

export async function connectTo(options: ExchangeOptions): Promise<TokenConnection | TokenAnswer> {
  const { egress = loopbackEgress(), trustedCertificates, ...request } = options;
  const endpoint = createTokenEndpoint({
    egress,
    clock: systemClock,
    randomUuid: randomUUID,
    ...(trustedCertificates === undefined ? {} : { trustedCertificates }),
  });
  return endpoint.connect({
    variables: {},
    clientId: 'client-1',
    clientSecret: new Secret('client-secret-1'),
    ...noKeys,
    credential: new Secret('refresh-token-1'),
    scope: null,
    ...request,
  });
}

/** Connects and sends at once. */
export async function exchange(options: ExchangeOptions): Promise<TokenAnswer> {
  const connection = await connectTo(options);
  if ('kind' in connection) return connection;
  const { deadlineMs = 5_000, mayStillSend = () => true } = options;
  return connection.send({ deadlineMs, mayStillSend });
}
