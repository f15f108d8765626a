import * as oauth from 'oauth4webapi';
import type { Secret } from '../platform/secret.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import { captureRequest, type CapturedRequest } from './captured-request.ts';
import { clientAuthOf } from './client-authentication.ts';
import { proveDpop } from './dpop.ts';
import {
  renderHeaders,
  sharedHeaders,
  templateValues,
  type HttpRequest,
  type RequestSources,
  type TokenRequest,
} from './provider-request.ts';
import { renderText } from './url-template.ts';

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
