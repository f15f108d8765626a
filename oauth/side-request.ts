import type * as oauth from 'oauth4webapi';
import { captureRequest, type BuildRequest, type GrantEndpoint } from './captured-request.ts';
import { clientAuthOf } from './client-authentication.ts';
import {
  renderHeaders,
  sharedHeaders,
  templateValues,
  type HttpRequest,
  type RequestSources,
  type TokenRequest,
} from './provider-request.ts';

/**
 * A request about a token to an endpoint beside the token endpoint, authenticated as the token request is:
 * always a POST of a form, for what a definition makes of its token request says nothing about this one.
 * Null: it cannot be built.
 */
export async function buildSideRequest(
  request: TokenRequest,
  endpoint: Exclude<GrantEndpoint, 'token_endpoint'>,
  url: URL,
  sources: RequestSources,
  build: (clientAuth: oauth.ClientAuth, ...rest: Parameters<BuildRequest>) => Promise<Response>,
): Promise<HttpRequest | null> {
  const clientAuth = await clientAuthOf(request, sources);
  const headers = renderHeaders(request.definition, templateValues(request, sources));
  if (clientAuth === null || headers === null) return null;
  const captured = await captureRequest(request.clientId, endpoint, url, (...rest) =>
    build(clientAuth, ...rest),
  );
  if (captured === null) return null;
  return {
    method: 'POST',
    path: url.pathname + url.search,
    headers: {
      ...sharedHeaders,
      ...headers,
      ...captured.headers,
      'content-type': 'application/x-www-form-urlencoded;charset=UTF-8',
    },
    body: new URLSearchParams(captured.params).toString(),
  };
}
