import { describe, expect, it } from 'vitest';
import { judgeAnswer } from '../../oauth/failure-class.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import { parseProviderDefinition } from '../../oauth/parse-provider-definition.ts';
import type { ProviderDefinition } from '../../oauth/provider-definition.ts';
import { extractTokens } from '../../oauth/token-answer.ts';
import type { TokenAnswer } from '../../oauth/provider-answer.ts';
import { Secret } from '../../platform/secret.ts';
import { answerOf } from './definitions.ts';

const now = new Date('2026-11-23T12:00:00Z');
const catalogue = createProviderCatalogue({ builtIn: loadBuiltInProviders() });

/** Definitions that no built-in provider has, each with the rules of one row of the table. */
const own: Record<string, Record<string, unknown>> = {
  generic: {},
  // Every failure of its token endpoint is a 500.
  cybersource: {
    errors: [
      { when: { status: 500, code: 'invalid_grant' }, class: 'permanent' },
      { when: { status: 500, code: 'invalid_client' }, class: 'misconfigured' },
    ],
  },
  // Names too many tokens in text, at 400.
  zoho: {
    errors: [
      { when: { code: 'invalid_code' }, class: 'permanent' },
      {
        when: { code: 'Access Denied', message_regex: 'too many requests' },
        class: 'rate_limited',
      },
    ],
  },
  created: { response: { success_status: [201] } },
  ok: { response: { success_when: { pointer: '/ok', equals: true } } },
  retrying: { errors: [{ when: { code: 'invalid_request' }, class: 'permanent' }] },
  nested: { errors: [{ when: { pointer: '/fault/code', equals: 'Gone' }, class: 'permanent' }] },
  text: {
    errors: [
      {
        when: { status: [400, 422], pointer: '/detail/text', message_regex: 'GONE' },
        class: 'permanent',
      },
    ],
  },
  broken: { errors: [{ when: { status: 418 }, class: 'protocol_break' }] },
  first: {
    errors: [
      { when: { status: 400, code: 'invalid_grant' }, class: 'transient' },
      { when: { code: 'invalid_grant' }, class: 'permanent' },
    ],
  },
};

function definitionOf(name: string): ProviderDefinition {
  const members = own[name];
  if (members === undefined) return catalogue.resolve(name, {});
  return parseProviderDefinition({ token_url: 'https://as.example.com/token', ...members });
}

/** As the table writes it: class, code, then the reason of a verdict and the seconds to wait. */
function judge(name: string, answer: TokenAnswer): string {
  const definition = definitionOf(name);
  const judgement = judgeAnswer(definition, answer, extractTokens(definition, answer), now, [
    new Secret('client-secret-1'),
    new Secret('refresh_token_of_words'),
  ]);
  if (judgement.kind === 'success') return 'success';
  const { class: failureClass, code, reason, retryAfterSeconds } = judgement;
  return [
    failureClass,
    code,
    ...(reason === null ? [] : [reason]),
    ...(retryAfterSeconds === null ? [] : [`after ${retryAfterSeconds}`]),
  ].join(' ');
}

const page = '<html><body>Bad Gateway</body></html>';
const html = { 'content-type': 'text/html; charset=utf-8' };
const json = { 'content-type': 'application/json' };
const tokens = { access_token: 'at', token_type: 'Bearer' };
const rotated = { ...tokens, refresh_token: 'rt-2' };
const description = (text: string): object => ({ error_description: text });
const error = (code: unknown, text?: string): object => ({
  error: code,
  ...(text === undefined ? {} : description(text)),
});
const envoy = 'upstream connect error or disconnect/reset before headers. reset reason: overflow';
const fosite =
  'Failed to refresh token because of multiple concurrent requests using the same token. Please retry the request.';

type Body = string | object;
type Row = [definition: string, status: number, body: Body, verdict: string, headers?: Headers];
type Headers = Record<string, string>;

describe('an answer', () => {
  it.each<Row>([
    // Success: any 2xx with an access token, whatever it is labelled.
    ['generic', 200, tokens, 'success'],
    ['generic', 200, rotated, 'success'],
    ['generic', 201, tokens, 'success'],
    ['generic', 200, { access_token: 'at' }, 'success'],
    ['generic', 200, { ...tokens, token_type: 7 }, 'success'],
    ['generic', 200, { ...tokens, expires_in: 1e308, scope: [['a']] }, 'success'],
    ['generic', 200, 'access_token=at&token_type=bearer', 'success'],
    ['generic', 200, JSON.stringify(tokens), 'success', html],
    ['generic', 200, 'access_token=at', 'success', json],
    ['generic', 200, '{"access_token":"a","access_token":"b"}', 'success'],
    ['generic', 200, '{"access_token":"a","expires_in":NaN}', 'success'],
    ['generic', 200, `\uFEFF ${JSON.stringify(tokens)}`, 'success'],
    // An error member that says nothing is none.
    ['generic', 200, { ...tokens, error: null }, 'success'],
    ['generic', 200, { ...tokens, error: '' }, 'success'],
    ['generic', 200, { ...tokens, error: false }, 'success'],
    ['generic', 200, { ...tokens, error: 0 }, 'success'],
    ['generic', 200, { ...tokens, error: [] }, 'success'],
    ['generic', 200, { ...tokens, error: {} }, 'success'],
    ['generic', 200, { ...tokens, errors: ['warning'] }, 'success'],
    ['created', 201, tokens, 'success'],
    ['ok', 200, { ...tokens, ok: true }, 'success'],

    // The error code of RFC 6749, wherever it stands; 400, 401 and 403 mean the same.
    ['generic', 400, error('invalid_grant'), 'permanent invalid_grant revoked'],
    ['generic', 401, error('invalid_grant'), 'permanent invalid_grant revoked'],
    ['generic', 403, error('invalid_grant'), 'permanent invalid_grant revoked'],
    ['generic', 404, error('invalid_grant'), 'permanent invalid_grant revoked'],
    ['generic', 200, error('invalid_grant'), 'permanent invalid_grant revoked'],
    ['generic', 400, error('invalid_grant'), 'permanent invalid_grant revoked', html],
    ['generic', 400, 'error=invalid_grant&x=y', 'permanent invalid_grant revoked'],
    ['generic', 400, error(' Invalid_Grant '), 'permanent invalid_grant revoked'],
    ['generic', 400, '{"error":"x_y","error":"invalid_grant"}', 'permanent invalid_grant revoked'],
    ['generic', 400, 'error=invalid_grant&error=slow_down', 'permanent invalid_grant revoked'],
    ['generic', 400, error({ code: 'invalid_grant' }), 'permanent invalid_grant revoked'],
    ['generic', 400, error({ type: 'invalid_grant' }), 'permanent invalid_grant revoked'],
    ['generic', 400, error({ code: 7, type: {} }), 'transient http_400'],
    ['generic', 400, error({ code: 'rt-2' }), 'transient http_400'],
    ['generic', 400, error('interaction_required'), 'permanent interaction_required refused'],
    ['generic', 400, error('login_required'), 'permanent login_required refused'],
    ['generic', 400, error('consent_required'), 'permanent consent_required refused'],
    ['generic', 403, error('mfa_required'), 'permanent mfa_required refused'],
    ['generic', 400, error('expired_token'), 'permanent expired_token expired'],
    ['generic', 401, error('token_expired'), 'permanent token_expired expired'],
    ['generic', 400, error('invalid_refresh_token'), 'permanent invalid_refresh_token revoked'],
    ['generic', 400, error('invalid_client'), 'misconfigured invalid_client'],
    ['generic', 401, error('invalid_client'), 'misconfigured invalid_client'],
    [
      'generic',
      401,
      error('invalid_client'),
      'misconfigured invalid_client',
      { 'www-authenticate': 'Basic realm="as"' },
    ],
    ['generic', 401, '', 'misconfigured http_401', { 'www-authenticate': 'Basic realm="as"' }],
    ['generic', 200, error('invalid_client'), 'misconfigured invalid_client'],
    ['generic', 400, error('unauthorized_client'), 'misconfigured unauthorized_client'],
    ['generic', 403, error('unauthorized_client'), 'misconfigured unauthorized_client'],
    ['generic', 400, error('unsupported_grant_type'), 'misconfigured unsupported_grant_type'],
    ['generic', 400, error('invalid_scope'), 'misconfigured invalid_scope'],
    ['generic', 400, error('invalid_target'), 'misconfigured invalid_target'],
    ['generic', 400, error('invalid_dpop_proof'), 'misconfigured invalid_dpop_proof'],
    ['generic', 400, error('temporarily_unavailable'), 'transient temporarily_unavailable'],
    ['generic', 400, error('use_dpop_nonce'), 'transient use_dpop_nonce'],
    ['generic', 400, error('slow_down'), 'rate_limited slow_down'],
    ['generic', 400, error('rate_limit_exceeded'), 'rate_limited rate_limit_exceeded'],
    ['generic', 403, error('too_many_requests'), 'rate_limited too_many_requests'],
    ['generic', 400, error('server_error'), 'ambiguous server_error'],

    // invalid_request is the app's fault, unless it is how a lost race is told.
    ['generic', 400, error('invalid_request'), 'misconfigured invalid_request'],
    ['generic', 400, error('invalid_request', 'no such field'), 'misconfigured invalid_request'],
    ['generic', 400, error('invalid_request', fosite), 'transient invalid_request'],
    ['generic', 400, error('invalid_request', 'PLEASE RETRY'), 'transient invalid_request'],
    ['okta', 400, error('invalid_request', fosite), 'transient invalid_request'],
    ['retrying', 400, error('invalid_request', fosite), 'permanent invalid_request revoked'],
    ['generic', 400, error('invalid_grant', fosite), 'permanent invalid_grant revoked'],

    // A code that nobody knows is recorded only if it can be nothing else.
    ['generic', 400, error('something_new'), 'transient something_new'],
    ['generic', 400, error('grant.not-found'), 'transient grant.not-found'],
    ['generic', 401, error('access_denied'), 'misconfigured access_denied'],
    ['generic', 400, error('A text, with a secret'), 'transient http_400'],
    ['generic', 400, error('2YotnFZFEjr1zCsicMWpAA'), 'transient http_400'],
    ['generic', 400, error('abcdefghijklmnopqrst'), 'transient http_400'],
    ['generic', 400, error('client-secret-1'), 'transient http_400'],
    ['generic', 400, error('refresh_token_of_words'), 'transient http_400'],
    ['generic', 400, error('refreshtoken.ofwords'), 'transient http_400'],
    ['generic', 400, error('no_refresh_token_of_wor'), 'transient http_400'],
    ['generic', 400, { ...error('to_ken_echo'), token: 'To-Ken-Echo' }, 'transient http_400'],
    [
      'generic',
      400,
      { ...error('deep_down_one'), a: [{ client_secret: 'deepdownone' }] },
      'transient http_400',
    ],
    ['generic', 400, error('x'), 'transient http_400'],
    ['generic', 400, error(true), 'transient http_400'],
    ['generic', 400, error(12345678901234567890n.toString()), 'transient http_400'],

    // Too many requests and out of service.
    ['generic', 429, '', 'rate_limited http_429'],
    ['generic', 429, error('invalid_grant'), 'rate_limited invalid_grant'],
    ['generic', 429, page, 'rate_limited http_429', html],
    ['generic', 503, '', 'transient http_503'],
    ['generic', 503, {}, 'transient http_503'],
    ['generic', 503, error('server_error'), 'transient server_error'],
    ['generic', 503, error('invalid_grant'), 'transient invalid_grant'],
    ['generic', 503, JSON.stringify(error('busy_now')), 'transient busy_now', html],
    ['generic', 503, page, 'ambiguous http_503', html],
    ['generic', 503, page, 'ambiguous http_503', json],
    ['generic', 503, envoy, 'ambiguous http_503'],
    ['generic', 503, '{"error":"temporarily_una', 'ambiguous http_503'],

    // Other 5xx: a proxy's statuses and pages are ambiguous, and nothing from there is a verdict.
    ['generic', 500, '', 'ambiguous http_500'],
    ['generic', 500, page, 'ambiguous http_500', html],
    ['generic', 500, { message: 'x' }, 'ambiguous http_500'],
    ['generic', 500, tokens, 'ambiguous http_500'],
    ['generic', 500, error('server_error'), 'ambiguous server_error'],
    ['generic', 500, error('something_new'), 'ambiguous something_new'],
    ['generic', 500, error('invalid_grant'), 'transient invalid_grant'],
    ['generic', 500, error('invalid_client'), 'misconfigured invalid_client'],
    ['generic', 500, error('temporarily_unavailable'), 'transient temporarily_unavailable'],
    ['generic', 501, '', 'ambiguous http_501'],
    ['generic', 502, page, 'ambiguous http_502'],
    ['generic', 502, '', 'ambiguous http_502'],
    ['generic', 502, error('invalid_grant'), 'ambiguous invalid_grant'],
    ['generic', 504, '', 'ambiguous http_504'],
    ['generic', 504, error('temporarily_unavailable'), 'ambiguous temporarily_unavailable'],
    ['generic', 520, page, 'ambiguous http_520'],
    ['generic', 521, page, 'ambiguous http_521'],
    ['generic', 522, page, 'ambiguous http_522'],
    ['generic', 523, page, 'ambiguous http_523'],
    ['generic', 524, error('invalid_grant'), 'ambiguous invalid_grant'],
    ['generic', 599, '', 'ambiguous http_599'],
    ['generic', 101, '', 'ambiguous http_101'],

    // 3xx and what a wrong address or request brings.
    ['generic', 301, '', 'misconfigured http_301'],
    ['generic', 302, page, 'misconfigured http_302', html],
    ['generic', 307, '', 'misconfigured http_307'],
    ['generic', 308, error('invalid_grant'), 'misconfigured invalid_grant'],
    ['generic', 304, tokens, 'misconfigured http_304'],
    ['generic', 401, page, 'misconfigured http_401', html],
    ['generic', 404, page, 'misconfigured http_404', html],
    ['generic', 405, '', 'misconfigured http_405'],
    ['generic', 415, '', 'misconfigured http_415'],
    ['generic', 400, {}, 'transient http_400'],
    ['generic', 400, page, 'transient http_400', html],
    ['generic', 403, page, 'transient http_403', html],
    ['generic', 408, '', 'transient http_408'],
    ['generic', 409, { message: 'conflict' }, 'transient http_409'],
    ['generic', 400, tokens, 'transient http_400'],

    // 2xx without what was asked for.
    ['generic', 200, {}, 'protocol_break http_200'],
    ['generic', 200, { refresh_token: 'rt' }, 'protocol_break http_200'],
    ['generic', 200, { access_token: '' }, 'protocol_break http_200'],
    ['generic', 200, { access_token: null }, 'protocol_break http_200'],
    ['generic', 200, { access_token: ['at'] }, 'protocol_break http_200'],
    ['generic', 200, { access_token: { value: 'at' } }, 'protocol_break http_200'],
    ['generic', 200, { data: tokens }, 'protocol_break http_200'],
    ['generic', 200, { ...tokens, error: 'odd_one' }, 'protocol_break odd_one'],
    ['generic', 200, { ...rotated, error: 'invalid_grant' }, 'permanent invalid_grant revoked'],
    ['generic', 200, { ...tokens, error: { a: 1 } }, 'protocol_break http_200'],
    ['generic', 200, { ...tokens, error: 'at' }, 'protocol_break http_200'],
    ['created', 200, tokens, 'protocol_break http_200'],
    ['ok', 200, tokens, 'protocol_break http_200'],
    ['ok', 200, { ...tokens, ok: 'true' }, 'protocol_break http_200'],
    ['generic', 200, '{"access_token":"a', 'ambiguous http_200'],
    ['generic', 200, '{"access_token":"a"', 'ambiguous http_200'],
    ['generic', 200, '{"access_token":"a","refresh_token":"r",', 'ambiguous http_200'],
    ['generic', 200, page, 'ambiguous http_200', html],
    ['generic', 200, '', 'ambiguous http_200'],
    ['generic', 200, ' \n ', 'ambiguous http_200', json],
    ['generic', 204, '', 'ambiguous http_204'],
    ['generic', 200, [tokens], 'ambiguous http_200'],
    ['generic', 200, 'null', 'ambiguous http_200'],
    ['generic', 200, '"ok"', 'ambiguous http_200'],
    ['generic', 200, '1e999', 'ambiguous http_200'],
    ['generic', 200, '['.repeat(100_000), 'ambiguous http_200'],

    // Rules of a definition go before code and status, the first that holds before the next.
    ['first', 400, error('invalid_grant'), 'transient invalid_grant'],
    ['first', 401, error('invalid_grant'), 'permanent invalid_grant revoked'],
    ['broken', 418, '', 'protocol_break http_418'],
    ['nested', 500, { fault: { code: 'Gone' } }, 'permanent gone revoked'],
    ['nested', 500, { fault: { code: 'Other' } }, 'ambiguous http_500'],
    ['text', 422, { detail: { text: 'is gone' } }, 'permanent http_422 revoked'],
    ['text', 409, { detail: { text: 'is gone' } }, 'transient http_409'],
    ['text', 400, { detail: { text: 7 } }, 'transient http_400'],
    ['cybersource', 500, error('invalid_grant'), 'permanent invalid_grant revoked'],
    ['cybersource', 500, error('invalid_client'), 'misconfigured invalid_client'],
    ['cybersource', 500, error('server_error'), 'ambiguous server_error'],
    ['zoho', 200, error('invalid_code'), 'permanent invalid_code revoked'],
    [
      'zoho',
      400,
      error('Access Denied', 'You have made too many requests continuously.'),
      'rate_limited http_400',
    ],
    ['zoho', 400, error('Access Denied', 'no'), 'transient http_400'],
    ['zoho', 200, { ...tokens, error: 'invalid_code' }, 'permanent invalid_code revoked'],

    // When to come back.
    ['generic', 429, '', 'rate_limited http_429 after 7', { 'retry-after': '7' }],
    ['generic', 429, '', 'rate_limited http_429 after 8', { 'retry-after': '7.5' }],
    ['generic', 503, '', 'transient http_503 after 3600', { 'retry-after': '86400' }],
    ['generic', 503, '', 'transient http_503 after 3600', { 'retry-after': '9'.repeat(400) }],
    ['generic', 503, page, 'ambiguous http_503 after 9', { 'retry-after': ' 9 ' }],
    ['generic', 400, error('slow_down'), 'rate_limited slow_down after 1', { 'retry-after': '1' }],
    ['generic', 429, '', 'rate_limited http_429', { 'retry-after': 'soon' }],
    ['generic', 429, '', 'rate_limited http_429', { 'retry-after': '-5' }],
    ['generic', 429, '', 'rate_limited http_429', { 'retry-after': '' }],
    // A date counts by the clock that wrote it, or by ours.
    [
      'generic',
      429,
      '',
      'rate_limited http_429 after 7',
      { 'retry-after': 'Mon, 23 Nov 2026 10:00:07 GMT', date: 'Mon, 23 Nov 2026 10:00:00 GMT' },
    ],
    [
      'generic',
      429,
      '',
      'rate_limited http_429 after 9',
      { 'retry-after': 'Mon, 23 Nov 2026 12:00:09 GMT' },
    ],
    [
      'generic',
      429,
      '',
      'rate_limited http_429 after 0',
      { 'retry-after': 'Sun, 06 Nov 1994 08:49:37 GMT', date: 'nonsense' },
    ],
    [
      'generic',
      429,
      '',
      'rate_limited http_429 after 3600',
      { 'retry-after': 'Tue, 24 Nov 2026 12:00:00 GMT' },
    ],
  ])('%s %i %j is %s %j', (definition, status, body, verdict, headers = {}) => {
    expect(judge(definition, answerOf(body, { status, headers }))).toBe(verdict);
  });
});

describe('no answer', () => {
  it.each<[TokenAnswer, string]>([
    // Nothing was sent: nothing is spent, whatever came in between.
    [{ kind: 'not_sent', class: 'transient', code: 'ECONNREFUSED' }, 'transient ECONNREFUSED'],
    [{ kind: 'not_sent', class: 'transient', code: 'ENOTFOUND' }, 'transient ENOTFOUND'],
    [{ kind: 'not_sent', class: 'transient', code: 'EAI_AGAIN' }, 'transient EAI_AGAIN'],
    [
      { kind: 'not_sent', class: 'transient', code: 'connect_timeout' },
      'transient connect_timeout',
    ],
    [{ kind: 'not_sent', class: 'transient', code: 'send_limit' }, 'transient send_limit'],
    [
      { kind: 'not_sent', class: 'misconfigured', code: 'egress_refused' },
      'misconfigured egress_refused',
    ],
    [
      { kind: 'not_sent', class: 'misconfigured', code: 'tls_cert_has_expired' },
      'misconfigured tls_cert_has_expired',
    ],
    // Sent, and then no complete answer.
    [{ kind: 'no_answer', code: 'ECONNRESET' }, 'ambiguous ECONNRESET'],
    [{ kind: 'no_answer', code: 'UND_ERR_SOCKET' }, 'ambiguous UND_ERR_SOCKET'],
    [{ kind: 'no_answer', code: 'answer_timeout' }, 'ambiguous answer_timeout'],
    [{ kind: 'no_answer', code: 'answer_truncated' }, 'ambiguous answer_truncated'],
    [{ kind: 'no_answer', code: 'answer_too_large' }, 'ambiguous answer_too_large'],
    [{ kind: 'no_answer', code: 'a text, and no code' }, 'ambiguous network_error'],
  ])('%j is %s', (answer, verdict) => {
    expect(judge('generic', answer)).toBe(verdict);
    expect(judge('first', answer)).toBe(verdict);
  });
});
