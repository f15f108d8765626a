import * as oauth from 'oauth4webapi';
import type { Secret } from '../platform/secret.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import { renderText } from './url-template.ts';

const userAgent = 'token-manager';
const headerValuePattern = /^[\t\x20-\x7e\x80-\xff]*$/;
const msPerSecond = 1_000;

/** One request to a provider's token endpoint. */
export interface TokenRequest {
  definition: ProviderDefinition;
  /** Of the connection; they fill the definition's templates. */
  variables: Record<string, string>;
  clientId: string;
  clientSecret: Secret | null;
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

/** Time and chance for the `now` and `uuid` placeholders. */
export interface RequestSources {
  wallMs(): number;
  randomUuid(): string;
}

/**
 * Builds the request of a grant (RFC 6749 §4.4.2, §6) with oauth4webapi, and then what the definition
 * makes of it: parameters added, renamed and left out, the body format, headers. Null: the request
 * cannot be built, because a secret or a template's value is missing.
 */
export async function buildTokenRequest(
  request: TokenRequest,
  url: URL,
  sources: RequestSources,
): Promise<HttpRequest | null> {
  const { definition } = request;
  const values = {
    ...request.variables,
    uuid: sources.randomUuid(),
    now: String(Math.floor(sources.wallMs() / msPerSecond)),
  };
  const headers = renderHeaders(definition, values);
  const added = renderParams(definition, values);
  const clientAuth = toClientAuth(request);
  if (headers === null || added === null || clientAuth === null) return null;

  const grant = await captureGrant(request, clientAuth, url);
  if (grant === null) return null;
  const params = new Map<string, string | number | boolean>(grant.params);
  for (const [name, value] of added) params.set(name, value);
  const written = new Map(
    [...params]
      .filter(([name]) => !definition.request.omit.includes(name))
      .map(([name, value]) => [ownMember(definition.request.rename, name) ?? name, value]),
  );
  const shared = { 'user-agent': userAgent, accept: 'application/json' };
  const authorization = grant.authorization === null ? {} : { authorization: grant.authorization };
  return write(definition, url, written, { ...shared, ...headers, ...authorization });
}

interface Grant {
  params: [string, string][];
  authorization: string | null;
}

/** Lets oauth4webapi build the request, and takes it instead of sending it. */
async function captureGrant(
  request: TokenRequest,
  clientAuth: oauth.ClientAuth,
  url: URL,
): Promise<Grant | null> {
  const { definition, credential } = request;
  // Nothing is sent from here, and egress decides about plain http: named https, the library's own check
  // stays on.
  const named = new URL(url);
  named.protocol = 'https:';
  const server = { issuer: named.origin, token_endpoint: named.href };
  const client = { client_id: request.clientId };
  let grant: Grant | null = null;
  const scope =
    definition.scope.send && request.scope !== null
      ? { scope: request.scope.split(' ').join(definition.scope.separator) }
      : {};
  const options = {
    [oauth.customFetch]: (
      _url: string,
      init: { body: unknown; headers: Record<string, string> },
    ): Promise<Response> => {
      const { authorization = null } = init.headers as { authorization?: string };
      if (init.body instanceof URLSearchParams) grant = { params: [...init.body], authorization };
      return Promise.resolve(new Response());
    },
  };
  if (credential === null && definition.credential !== 'client') return null;
  try {
    const parameters = { ...credentialParameter(definition, credential), ...scope };
    if (definition.credential === 'refresh_token' && definition.grantType === 'refresh_token') {
      const { refresh_token: refreshToken = '', ...additionalParameters } = parameters;
      await oauth.refreshTokenGrantRequest(server, client, clientAuth, refreshToken, {
        ...options,
        additionalParameters,
      });
    } else if (definition.grantType === 'client_credentials') {
      await oauth.clientCredentialsGrantRequest(server, client, clientAuth, parameters, options);
    } else {
      const { grantType } = definition;
      await oauth.genericTokenEndpointRequest(
        server,
        client,
        clientAuth,
        grantType,
        parameters,
        options,
      );
    }
  } catch {
    // It refuses empty client ids and tokens, in messages that need no repeating.
    return null;
  }
  return grant;
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

/** RFC 6749 §2.3: exactly one method. Null: the method needs a secret, and there is none. */
function toClientAuth(request: TokenRequest): oauth.ClientAuth | null {
  const { definition } = request;
  if (definition.clientAuth === 'none') return oauth.None();
  const isTemplated = definition.basicUser !== null || definition.basicPassword !== null;
  const secret = request.clientSecret?.reveal() ?? '';
  if (secret === '') return null;
  if (definition.clientAuth === 'post') return oauth.ClientSecretPost(secret);
  if (definition.basicEncoding === 'strict' && !isTemplated) return oauth.ClientSecretBasic(secret);

  const values = { ...request.variables, client_id: request.clientId, client_secret: secret };
  const user = renderText(definition.basicUser ?? '${client_id}', values);
  const password = renderText(definition.basicPassword ?? '${client_secret}', values);
  if (user === null || password === null) return null;
  const encode = definition.basicEncoding === 'strict' ? formEncode : (text: string) => text;
  const pair = Buffer.from(`${encode(user)}:${encode(password)}`, 'utf8').toString('base64');
  return (_server, _client, _body, headers) => {
    headers.set('authorization', `Basic ${pair}`);
  };
}

/** application/x-www-form-urlencoded of one value (RFC 6749 appendix B). */
function formEncode(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1);
}

function renderHeaders(
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
