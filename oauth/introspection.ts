import * as oauth from 'oauth4webapi';
import type { Secret } from '../platform/secret.ts';
import { parseAnswerBody } from './answer-body.ts';
import type { TokenAnswer } from './provider-answer.ts';
import type { HttpRequest, RequestSources, TokenRequest } from './provider-request.ts';
import { buildSideRequest } from './side-request.ts';

/** What a provider says of a refresh token. `unknown`: it did not say. */
export type GrantActivity = 'active' | 'inactive' | 'unknown';

/** The request of RFC 7662 §2.1. Null: it cannot be built. */
export function buildIntrospection(
  request: TokenRequest,
  refreshToken: Secret,
  url: URL,
  sources: RequestSources,
): Promise<HttpRequest | null> {
  return buildSideRequest(
    request,
    'introspection_endpoint',
    url,
    sources,
    (clientAuth, server, client, options) =>
      oauth.introspectionRequest(server, client, clientAuth, refreshToken.reveal(), {
        ...options,
        additionalParameters: { token_type_hint: 'refresh_token' },
      }),
  );
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
