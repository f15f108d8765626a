import * as oauth from 'oauth4webapi';
import type { ClientCertificate } from '../connections/client-certificate.ts';
import type { PrivateKey } from '../connections/private-key.ts';
import type { Secret } from '../platform/secret.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import { captureRequest, type CapturedRequest } from './captured-request.ts';
import { clientAuthOf } from './client-authentication.ts';
import { proveDpop } from './dpop.ts';
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

/**
 * Builds the request of a grant (RFC 6749 §4.4.2, §6) with oauth4webapi, and then what the definition
 * makes of it: parameters added, renamed and left out, the body format, headers. Each call makes assertions
 * and proofs anew. Null: the request cannot be built, because a secret, key or template's value is missing.
 */
export async function buildTokenRequest(
  request: TokenRequest,
  url: URL,
  sources: RequestSources,
  dpopNonce?: string,
): Promise<HttpRequest | null> {
  const { definition, accessToken } = request;
  const values = templateValues(request, sources);
  const headers = renderHeaders(definition, values);
  const token = accessToken === null ? {} : { access_token: accessToken.reveal() };
  const added = renderParams(definition, { ...values, ...token });
  const clientAuth = await clientAuthOf(request, sources);
  if (headers === null || added === null || clientAuth === null) return null;
  const proof = definition.dpop ? await proveDpop(request, url, sources, dpopNonce) : undefined;
  if (proof === null) return null;

  const grant = await captureGrant(request, clientAuth, url, proof);
  if (grant === null) return null;
  const params = new Map<string, string | number | boolean>(grant.params);
  for (const [name, value] of added) params.set(name, value);
  const written = new Map(
    [...params]
      .filter(([name]) => !definition.request.omit.includes(name))
      .map(([name, value]) => [ownMember(definition.request.rename, name) ?? name, value]),
  );
  return write(definition, url, written, { ...sharedHeaders, ...headers, ...grant.headers });
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

/** RFC 6749 §6, §4.4.2, or a grant of the provider's own. */
async function captureGrant(
  request: TokenRequest,
  clientAuth: oauth.ClientAuth,
  url: URL,
  proof: oauth.DPoPHandle | undefined,
): Promise<CapturedRequest | null> {
  const { definition, credential } = request;
  const scope =
    definition.scope.send && request.scope !== null
      ? { scope: request.scope.split(' ').join(definition.scope.separator) }
      : {};
  if (credential === null && definition.credential !== 'client') return null;
  const parameters = { ...credentialParameter(definition, credential), ...scope };
  return captureRequest(request.clientId, 'token_endpoint', url, (server, client, capture) => {
    const options = { ...capture, ...(proof === undefined ? {} : { DPoP: proof }) };
    if (definition.credential === 'refresh_token' && definition.grantType === 'refresh_token') {
      const { refresh_token: refreshToken = '', ...additionalParameters } = parameters;
      return oauth.refreshTokenGrantRequest(server, client, clientAuth, refreshToken, {
        ...options,
        additionalParameters,
      });
    }
    if (definition.grantType === 'client_credentials') {
      return oauth.clientCredentialsGrantRequest(server, client, clientAuth, parameters, options);
    }
    const { grantType } = definition;
    return oauth.genericTokenEndpointRequest(
      server,
      client,
      clientAuth,
      grantType,
      parameters,
      options,
    );
  });
}

function credentialParameter(
  definition: ProviderDefinition,
  credential: Secret | null,
): { refresh_token?: string; access_token?: string } {
  if (credential === null) return {};
  switch (definition.credential) {
    case 'refresh_token':
      return { refresh_token: credential.reveal() };
    case 'access_token':
      return { access_token: credential.reveal() };
    case 'client':
      return {};
  }
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

/** Numbers and booleans stay what they are, for JSON bodies. */
function renderParams(
  definition: ProviderDefinition,
  values: Record<string, string>,
): [string, string | number | boolean][] | null {
  const params: [string, string | number | boolean][] = [];
  for (const [name, template] of Object.entries(definition.request.params)) {
    const value = typeof template === 'string' ? renderText(template, values) : template;
    if (value === null) return null;
    params.push([name, value]);
  }
  return params;
}

function write(
  definition: ProviderDefinition,
  url: URL,
  params: ReadonlyMap<string, string | number | boolean>,
  headers: Record<string, string>,
): HttpRequest {
  const { method, bodyFormat } = definition.request;
  const form = new URLSearchParams();
  for (const [name, value] of params) form.set(name, String(value));
  const path = url.pathname + url.search;
  switch (bodyFormat) {
    case 'form': {
      const contentType = 'application/x-www-form-urlencoded;charset=UTF-8';
      return {
        method,
        path,
        headers: { ...headers, 'content-type': contentType },
        body: form.toString(),
      };
    }
    case 'json': {
      const body = JSON.stringify(Object.fromEntries(params));
      return { method, path, headers: { ...headers, 'content-type': 'application/json' }, body };
    }
    case 'query': {
      const query = `${path}${url.search === '' ? '?' : '&'}${form.toString()}`;
      return { method, path: query, headers, body: null };
    }
  }
}

function ownMember(record: Record<string, string>, name: string): string | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}
