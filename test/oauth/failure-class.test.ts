import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judgeAnswer, type Judgement } from '../../oauth/failure-class.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import type { ProviderDefinition } from '../../oauth/provider-definition.ts';
import { extractTokens } from '../../oauth/token-answer.ts';
import type { TokenAnswer } from '../../oauth/token-endpoint.ts';
import { Secret } from '../../platform/secret.ts';
import { answerOf, defineProvider } from './definitions.ts';

const now = new Date('2026-11-23T12:00:00Z');
const page = '<html><body>Bad Gateway</body></html>';
const html = { 'content-type': 'text/html' };
const catalogue = createProviderCatalogue({ builtIn: loadBuiltInProviders() });
const overrides: Record<string, Record<string, unknown>> = {
  generic: { token_url: 'https://as.example.com/token' },
};
const definitionOf = (provider: string): ProviderDefinition =>
  catalogue.resolve(provider, overrides[provider] ?? {});

function judge(provider: string, answer: TokenAnswer): Judgement {
  const definition = definitionOf(provider);
  return judgeAnswer(definition, answer, extractTokens(definition, answer), now);
}

const error = (code: string, description?: string): object =>
  description === undefined ? { error: code } : { error: code, error_description: description };
const tokens = { access_token: 'at', token_type: 'Bearer' };
const notSent = (cause: 'transient' | 'misconfigured', code: string): TokenAnswer => ({
  kind: 'not_sent',
  class: cause,
  code,
});
const noAnswer = (code: string): TokenAnswer => ({ kind: 'no_answer', code });
const at = (status: number, body: string | object, headers?: Record<string, string>): TokenAnswer =>
  answerOf(body, { status, ...(headers === undefined ? {} : { headers }) });

describe('judgeAnswer', () => {
  it.each<[string, TokenAnswer, string, string?]>([
    // Nothing was sent.
    ['generic', notSent('transient', 'ECONNREFUSED'), 'transient', 'ECONNREFUSED'],
    ['generic', notSent('transient', 'ENOTFOUND'), 'transient', 'ENOTFOUND'],
    ['generic', notSent('transient', 'connect_timeout'), 'transient', 'connect_timeout'],
    ['generic', notSent('transient', 'send_limit'), 'transient', 'send_limit'],
    ['generic', notSent('misconfigured', 'egress_refused'), 'misconfigured', 'egress_refused'],
    ['generic', notSent('misconfigured', 'tls_cert_has_expired'), 'misconfigured'],
    // Sent, and no complete answer.
    ['generic', noAnswer('ECONNRESET'), 'ambiguous', 'ECONNRESET'],
    ['generic', noAnswer('answer_timeout'), 'ambiguous', 'answer_timeout'],
    ['generic', noAnswer('answer_truncated'), 'ambiguous'],
    ['generic', noAnswer('answer_too_large'), 'ambiguous'],
    ['slack', noAnswer('UND_ERR_SOCKET'), 'ambiguous'],
    // Success.
    ['generic', at(200, tokens), 'success'],
    ['generic', at(201, tokens), 'success'],
    ['generic', at(200, { access_token: 'at' }), 'success'],
    ['generic', at(200, { ...tokens, error: null }), 'success'],
    ['generic', at(200, { ...tokens, error: '' }), 'success'],
    ['generic', at(200, { ...tokens, error: false }), 'success'],
    ['generic', at(200, 'access_token=at&token_type=bearer'), 'success'],
    ['generic', at(200, JSON.stringify(tokens), html), 'success'],
    ['slack', at(200, { ok: true, ...tokens }), 'success'],
    ['github', at(200, 'access_token=ghu&expires_in=28800&refresh_token=ghr'), 'success'],
    // The OAuth error.
    ['generic', at(400, error('invalid_grant')), 'permanent', 'invalid_grant'],
    ['generic', at(401, error('invalid_grant')), 'permanent', 'invalid_grant'],
    ['generic', at(403, error('invalid_grant')), 'permanent', 'invalid_grant'],
    ['generic', at(200, error('invalid_grant')), 'permanent', 'invalid_grant'],
    ['generic', at(400, error('invalid_grant'), html), 'permanent', 'invalid_grant'],
    ['generic', at(500, error('invalid_grant')), 'transient', 'invalid_grant'],
    ['generic', at(400, 'error=invalid_grant'), 'permanent', 'invalid_grant'],
    ['generic', at(400, error('interaction_required')), 'permanent', 'interaction_required'],
    ['generic', at(401, error('invalid_client')), 'misconfigured', 'invalid_client'],
    ['generic', at(400, error('invalid_client')), 'misconfigured', 'invalid_client'],
    ['generic', at(400, error('unauthorized_client')), 'misconfigured'],
    ['generic', at(400, error('unsupported_grant_type')), 'misconfigured'],
    ['generic', at(400, error('invalid_scope')), 'misconfigured'],
    ['generic', at(400, error('invalid_target')), 'misconfigured'],
    ['generic', at(400, error('invalid_request')), 'misconfigured'],
    ['generic', at(400, error('temporarily_unavailable')), 'transient'],
    ['generic', at(400, error('use_dpop_nonce')), 'transient'],
    ['generic', at(400, error('slow_down')), 'rate_limited'],
    ['generic', at(500, error('server_error')), 'ambiguous', 'server_error'],
    ['generic', at(400, error('something_new')), 'transient', 'something_new'],
    ['generic', at(400, error('Text of the provider, with a secret')), 'transient', 'http_400'],
    ['generic', at(400, { error: { code: 'invalid_grant' } }), 'transient', 'http_400'],
    // The status.
    ['generic', at(429, ''), 'rate_limited', 'http_429'],
    ['generic', at(429, error('invalid_request')), 'rate_limited', 'invalid_request'],
    ['generic', at(429, page, html), 'rate_limited', 'http_429'],
    ['generic', at(503, ''), 'transient', 'http_503'],
    ['generic', at(503, error('server_error')), 'transient', 'server_error'],
    ['generic', at(503, page, html), 'ambiguous', 'http_503'],
    ['generic', at(500, ''), 'ambiguous', 'http_500'],
    ['generic', at(500, { message: 'x' }), 'ambiguous', 'http_500'],
    ['generic', at(502, page), 'ambiguous', 'http_502'],
    ['generic', at(502, ''), 'ambiguous', 'http_502'],
    ['generic', at(504, ''), 'ambiguous', 'http_504'],
    ['generic', at(520, page), 'ambiguous', 'http_520'],
    ['generic', at(524, ''), 'ambiguous', 'http_524'],
    ['generic', at(301, ''), 'misconfigured', 'http_301'],
    ['generic', at(307, ''), 'misconfigured', 'http_307'],
    ['generic', at(401, ''), 'misconfigured', 'http_401'],
    ['generic', at(404, page), 'misconfigured', 'http_404'],
    ['generic', at(405, ''), 'misconfigured', 'http_405'],
    ['generic', at(400, {}), 'transient', 'http_400'],
    ['generic', at(403, page), 'transient', 'http_403'],
    ['generic', at(500, tokens), 'ambiguous', 'http_500'],
    ['generic', at(101, ''), 'ambiguous', 'http_101'],
    // 2xx without what was asked for.
    ['generic', at(200, {}), 'protocol_break', 'http_200'],
    ['generic', at(200, { refresh_token: 'rt' }), 'protocol_break', 'http_200'],
    ['generic', at(200, { access_token: '' }), 'protocol_break', 'http_200'],
    ['generic', at(200, { ...tokens, error: 'odd' }), 'protocol_break', 'odd'],
    ['generic', at(200, '{"access_token":"a'), 'ambiguous', 'http_200'],
    ['generic', at(200, page), 'ambiguous', 'http_200'],
    ['generic', at(200, ''), 'ambiguous', 'http_200'],
    ['generic', at(204, ''), 'ambiguous', 'http_204'],
    ['generic', at(200, '[]'), 'ambiguous', 'http_200'],
    // Rules of the catalogue.
    [
      'salesforce',
      at(400, error('invalid_grant', 'token request is already being processed')),
      'transient',
      'invalid_grant',
    ],
    ['salesforce', at(400, error('invalid_grant', 'inactive user')), 'permanent'],
    [
      'generic',
      at(400, error('invalid_request', 'Please retry the request.')),
      'transient',
      'invalid_request',
    ],
    ['hubspot', at(400, { status: 'BAD_REFRESH_TOKEN' }), 'permanent', 'bad_refresh_token'],
    ['hubspot', at(400, { status: 'BAD_CLIENT_ID' }), 'transient', 'http_400'],
    ['slack', at(200, { ok: false, error: 'invalid_refresh_token' }), 'permanent'],
    ['slack', at(200, { ok: false, error: 'internal_error' }), 'ambiguous', 'internal_error'],
    ['slack', at(200, { ok: false, error: 'fatal_error' }), 'ambiguous', 'fatal_error'],
    ['slack', at(200, { ok: false, ...tokens }), 'protocol_break', 'http_200'],
    ['slack', at(200, { ok: false, error: 'new_error' }), 'protocol_break', 'new_error'],
    ['github', at(200, error('bad_refresh_token')), 'permanent', 'bad_refresh_token'],
    ['github', at(200, 'error=bad_refresh_token&error_uri=x'), 'permanent', 'bad_refresh_token'],
    ['github', at(200, error('incorrect_client_credentials')), 'misconfigured'],
  ])('%s: %j is %s %s', (provider, answer, expectedClass, code) => {
    const judgement = judge(provider, answer);
    const actual = judgement.kind === 'success' ? 'success' : judgement.class;
    expect(actual).toBe(expectedClass);
    if (code !== undefined) expect(judgement).toMatchObject({ code });
  });

  it('gives a permanent failure its reason, and no other', () => {
    expect(judge('generic', at(400, error('invalid_grant')))).toMatchObject({ reason: 'revoked' });
    expect(judge('generic', at(400, error('consent_required')))).toMatchObject({
      reason: 'refused',
    });
    expect(judge('generic', at(503, ''))).toMatchObject({ reason: null });
  });

  it.each<[string, Record<string, string>, number | null]>([
    ['seconds', { 'retry-after': '7' }, 7],
    ['a date, by the clock that wrote it', dated('Mon, 23 Nov 2026 10:00:07 GMT'), 7],
    ['a date without one, by ours', { 'retry-after': 'Mon, 23 Nov 2026 12:00:09 GMT' }, 9],
    ['a date in the past', dated('Mon, 23 Nov 2026 09:00:00 GMT'), 0],
    ['a day, capped at an hour', { 'retry-after': '86400' }, 3_600],
    ['a number beyond numbers', { 'retry-after': '9'.repeat(40) }, null],
    ['something else', { 'retry-after': 'soon' }, null],
    ['nothing', {}, null],
  ])('reads a Retry-After of %s', (_name, headers, retryAfterSeconds) => {
    expect(judge('generic', at(429, '', headers))).toMatchObject({ retryAfterSeconds });
  });

  it('reads text at a pointer, and lists of statuses, in rules', () => {
    const definition = defineProvider({
      errors: [
        {
          when: { status: [400, 422], pointer: '/detail/text', message_regex: 'GONE' },
          class: 'permanent',
        },
      ],
    });
    const classOf = (answer: TokenAnswer): unknown =>
      judgeAnswer(definition, answer, extractTokens(definition, answer), now);
    const gone = { detail: { text: 'is gone' } };
    expect(classOf(at(422, gone))).toMatchObject({ class: 'permanent', code: 'http_422' });
    expect(classOf(at(409, gone))).toMatchObject({ class: 'transient' });
    expect(classOf(at(400, {}))).toMatchObject({ class: 'transient' });
  });

  it('is total, blames no unsent request and knows nothing of an unanswered one', () => {
    const body = fc.oneof(
      fc.string(),
      fc.json(),
      fc.constantFrom(page, '', JSON.stringify(tokens)),
    );
    const answer = fc.oneof(
      fc.record({
        kind: fc.constant('not_sent' as const),
        class: fc.constantFrom('transient' as const, 'misconfigured' as const),
        code: fc.string(),
      }),
      fc.record({ kind: fc.constant('no_answer' as const), code: fc.string() }),
      fc.record({
        kind: fc.constant('answer' as const),
        status: fc.integer({ min: 100, max: 999 }),
        headers: fc.dictionary(fc.constantFrom('retry-after', 'date', 'content-type'), fc.string()),
        body: body.map((text) => new Secret(text)),
      }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(loadBuiltInProviders())), answer, (name, seen) => {
        const judgement = judge(name, seen);
        if (seen.kind === 'not_sent') expect(judgement).toMatchObject({ class: seen.class });
        if (seen.kind === 'no_answer') expect(judgement).toMatchObject({ class: 'ambiguous' });
        if (seen.kind === 'answer' && judgement.kind === 'failure') {
          expect(judgement.code).toMatch(/^[a-z0-9_.-]{1,64}$/);
        }
      }),
    );
  });
});

function dated(retryAfter: string): Record<string, string> {
  return { 'retry-after': retryAfter, date: 'Mon, 23 Nov 2026 10:00:00 GMT' };
}
