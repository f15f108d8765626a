import * as oauth from 'oauth4webapi';
import type { Secret } from '../platform/secret.ts';
import { parseAnswerBody } from './answer-body.ts';
import { captureRequest, type CapturedRequest } from './captured-request.ts';
import { clientAuthOf } from './client-authentication.ts';
import type { TokenAnswer } from './token-endpoint.ts';
import {
  renderHeaders,
  sharedHeaders,
  templateValues,
  type HttpRequest,
  type RequestSources,
  type TokenRequest,
} from './token-request.ts';

/** What a provider says of a refresh token. `unknown`: it did not say. */
export type GrantActivity = 'active' | 'inactive' | 'unknown';

/**
 * The request of RFC 7662 §2.1, authenticated as the token request is: always a POST of a form, for what a
 * definition makes of its token request says nothing about this one. Null: it cannot be built.
 */
export async function buildIntrospection(
  request: TokenRequest,
  refreshToken: Secret,
  url: URL,
  sources: RequestSources,
): Promise<HttpRequest | null> {
  const clientAuth = await clientAuthOf(request, sources);
  const headers = renderHeaders(request.definition, templateValues(request, sources));
  if (clientAuth === null || headers === null) return null;
  const captured = await captureRequest(
    request.clientId,
    'introspection_endpoint',
    url,
    (server, client, options) =>
      oauth.introspectionRequest(server, client, clientAuth, refreshToken.reveal(), {
        ...options,
        additionalParameters: { token_type_hint: 'refresh_token' },
      }),
  );
  return captured && formRequest(url, headers, captured);
}

/** A POST of a form, as the endpoints beside the token endpoint want it whatever that one wants. */
export function formRequest(
  url: URL,
  headers: Record<string, string>,
  captured: CapturedRequest,
): HttpRequest {
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

/**
 * RFC 7662 §2.2: only a 200 with a boolean `active` decides. Text such as "false" is no answer: who writes
 * it may write it of a live token too.
 */
export function readIntrospection(answer: TokenAnswer): GrantActivity {
  if (answer.kind !== 'answer' || answer.status !== 200) return 'unknown';
  const active = parseAnswerBody(answer.body.reveal(), 'json')?.['active'];
  if (typeof active !== 'boolean') return 'unknown';
  return active ? 'active' : 'inactive';
}
