import * as oauth from 'oauth4webapi';
import type { Secret } from '../platform/secret.ts';
import { parseAnswerBody } from './answer-body.ts';
import { classOfOAuthError } from './oauth-errors.ts';
import type { TokenAnswer } from './provider-answer.ts';
import type { HttpRequest, RequestSources, TokenRequest } from './provider-request.ts';
import { networkCode } from './recorded-code.ts';
import { readRetryAfter } from './retry-after.ts';
import { buildSideRequest } from './side-request.ts';

export type RevocationTokenKind = 'refresh_token' | 'access_token';

/** How an attempt to revoke a token ended. */
export type RevocationAnswer =
  /** The token is of no use any more; `code` where the provider said so by an error. */
  | { kind: 'revoked'; code: string | null }
  /** The provider does not know the client that asks: another secret of it may do. */
  | { kind: 'client_refused'; code: string }
  /** It lives as far as is known (RFC 7009 §2.2.1). Seconds as the provider asked for, or null. */
  | { kind: 'failed'; code: string; retryAfterSeconds: number | null };

/** The token is none, or not one that can be revoked: nothing is left to do. */
const doneCodes = new Set(['unsupported_token_type', 'invalid_token', 'invalid_grant']);

/** The request of RFC 7009 §2.1. Null: it cannot be built. */
export function buildRevocation(
  request: TokenRequest,
  { token, kind }: { token: Secret; kind: RevocationTokenKind },
  url: URL,
  sources: RequestSources,
): Promise<HttpRequest | null> {
  return buildSideRequest(
    request,
    'revocation_endpoint',
    url,
    sources,
    (clientAuth, server, client, options) =>
      oauth.revocationRequest(server, client, clientAuth, token.reveal(), {
        ...options,
        additionalParameters: { token_type_hint: kind },
      }),
  );
}

/** RFC 7009 §2.2: a 200, also for a token that is none; 503 means not yet, as does whatever else is no end. */
export function readRevocation(answer: TokenAnswer, now: Date): RevocationAnswer {
  if (answer.kind !== 'answer') {
    return { kind: 'failed', code: networkCode(answer.code), retryAfterSeconds: null };
  }
  const { status, headers, body } = answer;
  if (status >= 200 && status < 300) return { kind: 'revoked', code: null };
  const error = parseAnswerBody(body.reveal(), 'json')?.['error'];
  const code = typeof error === 'string' ? error : '';
  if (status >= 400 && status < 500) {
    if (doneCodes.has(code)) return { kind: 'revoked', code };
    const failureClass = classOfOAuthError(code, '');
    // That the grant is over is what was asked for.
    if (failureClass === 'permanent') return { kind: 'revoked', code };
    if (failureClass === 'misconfigured' || status === 401) {
      return { kind: 'client_refused', code: failureClass === null ? `http_${status}` : code };
    }
  }
  return {
    kind: 'failed',
    code: `http_${status}`,
    retryAfterSeconds: readRetryAfter(headers, now),
  };
}
