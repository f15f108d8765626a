import type { ClientCertificate } from '../connections/client-certificate.ts';
import type { PrivateKey } from '../connections/private-key.ts';
import type { Secret } from '../platform/secret.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import { renderText } from './url-template.ts';

/** What every request to a provider says of itself; a definition may say otherwise. */
export const sharedHeaders = { 'user-agent': 'token-manager', accept: 'application/json' };
const headerValuePattern = /^[\t\x20-\x7e\x80-\xff]*$/;
const msPerSecond = 1_000;

/** One request to a provider's token endpoint. */
export interface TokenRequest {
  definition: ProviderDefinition;
  /** Of the connection; they fill the definition's templates. */
  variables: Record<string, string>;
  clientId: string;
  clientSecret: Secret | null;
  /** Signs client assertions. */
  privateKey: PrivateKey | null;
  /** Shown in the TLS handshake whenever there is one: some providers want it beside a client secret. */
  clientCertificate: ClientCertificate | null;
  /** The connection's own key, for proofs of possession (RFC 9449). */
  dpopKey: PrivateKey | null;
  /** For parameters that name it; what is exchanged is `credential`. */
  accessToken: Secret | null;
  /** What is exchanged: the refresh token, or the access token; null for client credentials. */
  credential: Secret | null;
  /** Sent only if the definition says so. */
  scope: string | null;
}

/** The request as it goes out. It holds secrets in clear: hand it to the socket and keep no copy. */
export interface HttpRequest {
  method: 'POST' | 'GET';
  path: string;
  headers: Record<string, string>;
  body: string | null;
}

/** Time and chance, for assertions, proofs, and the `now` and `uuid` placeholders. */
export interface RequestSources {
  wallMs(): number;
  randomUuid(): string;
}

/** What the templates of headers and parameters may name. */
export function templateValues(
  request: TokenRequest,
  sources: RequestSources,
): Record<string, string> {
  return {
    ...request.variables,
    uuid: sources.randomUuid(),
    now: String(Math.floor(sources.wallMs() / msPerSecond)),
  };
}

/** The definition's headers, filled in; null: a value is missing, or does not fit. */
export function renderHeaders(
  definition: ProviderDefinition,
  values: Record<string, string>,
): Record<string, string> | null {
  const headers: [string, string][] = [];
  for (const [name, template] of Object.entries(definition.request.headers)) {
    const value = renderText(template, values);
    if (value === null || !headerValuePattern.test(value)) return null;
    headers.push([name.toLowerCase(), value]);
  }
  return Object.fromEntries(headers);
}
