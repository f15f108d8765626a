import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { failureClasses } from '../../client/contract.ts';
import { judgeAnswer, type Judgement } from '../../oauth/failure-class.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import { parseProviderDefinition } from '../../oauth/parse-provider-definition.ts';
import type { ProviderDefinition } from '../../oauth/provider-definition.ts';
import { extractTokens } from '../../oauth/token-answer.ts';
import type { TokenAnswer } from '../../oauth/provider-answer.ts';
import { Secret } from '../../platform/secret.ts';

const now = new Date('2026-11-23T12:00:00Z');
const builtIn = loadBuiltInProviders();
const catalogue = createProviderCatalogue({ builtIn });
const codes = ['invalid_grant', 'invalid_client', 'invalid_request', 'server_error', 'slow_down'];
const pointers = ['', '/error', '/error/code', '/access_token', '/refresh_token', '/ok', '/a~1b/0'];

const pointer = fc.constantFrom(...pointers);
const status = fc.integer({ min: 100, max: 599 });
const scalar = fc.oneof(fc.string(), fc.double({ noNaN: true }), fc.boolean(), fc.constant(null));
const rule = fc.record({
  when: fc.oneof(
    fc.record({ status: fc.oneof(status, fc.array(status, { minLength: 1, maxLength: 3 })) }),
    fc.record({ code: fc.constantFrom(...codes, 'ODD', 'at-2') }),
    fc.record({ message_regex: fc.constantFrom('.', '^a', 'expired|gone'), pointer }),
    fc.record({ pointer, equals: scalar }),
  ),
  class: fc.constantFrom(...failureClasses),
});
/** Whatever the schema takes, in the members that answers are read by. */
const written: fc.Arbitrary<ProviderDefinition> = fc
  .record({
    errors: fc.array(rule, { maxLength: 4 }),
    response: fc.record({
      format: fc.constantFrom('json', 'form', 'auto'),
      success_when: fc.option(fc.record({ pointer, equals: scalar }), { nil: undefined }),
      success_status: fc.option(fc.array(status, { minLength: 1 }), { nil: undefined }),
      access_token: pointer,
      refresh_token: pointer,
      expires_in: fc.record({ pointer, unit: fc.constantFrom('seconds', 'milliseconds') }),
      metadata: fc.uniqueArray(pointer.filter((at) => at.length > 1)),
    }),
  })
  .map((members) =>
    parseProviderDefinition({ token_url: 'https://as.example.com/token', ...clean(members) }),
  );
const definition = fc.oneof(
  written,
  fc
    .constantFrom(...Object.keys(builtIn))
    .map((name) =>
      catalogue.resolve(
        name,
        name === 'generic' ? { token_url: 'https://as.example.com/token' } : {},
      ),
    ),
);
const members = fc.dictionary(
  fc.constantFrom('error', 'error_description', 'access_token', 'refresh_token', 'ok', 'x'),
  fc.oneof(fc.constantFrom(...codes), fc.jsonValue()),
);
const body = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.json(),
  members.map((value) => JSON.stringify(value)),
  fc.tuple(members, fc.nat()).map(([value, cut]) => JSON.stringify(value).slice(0, cut)),
  fc.webQueryParameters(),
  fc.constantFrom('', '<html></html>', '['.repeat(20_000), '{"error":'.repeat(20_000)),
);
const headers = fc.dictionary(
  fc.constantFrom('retry-after', 'date', 'content-type', '__proto__'),
  fc.oneof(
    fc.string(),
    fc.double().map(String),
    fc.date().map((date) => (Number.isNaN(date.getTime()) ? '' : date.toUTCString())),
  ),
);
const answered: fc.Arbitrary<Extract<TokenAnswer, { kind: 'answer' }>> = fc.record({
  kind: fc.constant('answer' as const),
  status: fc.integer({ min: 100, max: 999 }),
  headers,
  body: body.map((text) => new Secret(text)),
});

/** JSON has no `undefined`, and neither have definitions. */
function clean(value: object): object {
  return JSON.parse(JSON.stringify(value)) as object;
}

function judge(
  by: ProviderDefinition,
  answer: TokenAnswer,
  secrets: readonly Secret[] = [],
): Judgement {
  return judgeAnswer(by, answer, extractTokens(by, answer), now, secrets);
}

describe('judgeAnswer, whatever the definition and the answer', () => {
  it('has one judgement, with a code of its alphabet and a wait within an hour', () => {
    fc.assert(
      fc.property(definition, answered, (by, answer) => {
        const judgement = judge(by, answer);
        if (judgement.kind === 'success') return;
        expect(failureClasses).toContain(judgement.class);
        expect(judgement.code).toMatch(/^[a-z0-9_.-]{1,64}$/);
        expect(judgement.reason === null).toBe(judgement.class !== 'permanent');
        const wait = judgement.retryAfterSeconds;
        if (wait !== null) expect(wait).toBeGreaterThanOrEqual(0);
        if (wait !== null) expect(wait).toBeLessThanOrEqual(3_600);
      }),
      { numRuns: 500 },
    );
  });

  it('blames nobody for what was not sent', () => {
    const cause = fc.constantFrom('transient' as const, 'misconfigured' as const);
    fc.assert(
      fc.property(definition, cause, fc.string(), (by, failureClass, code) => {
        const judgement = judge(by, { kind: 'not_sent', class: failureClass, code });
        expect(judgement).toMatchObject({ class: failureClass, reason: null });
        expect('code' in judgement ? judgement.code : '').toMatch(/^[A-Za-z0-9_]{1,64}$/);
      }),
    );
  });

  it('calls what was sent and not answered in full ambiguous, and nothing else', () => {
    fc.assert(
      fc.property(definition, fc.string(), (by, code) => {
        const judgement = judge(by, { kind: 'no_answer', code });
        expect(judgement).toMatchObject({ class: 'ambiguous', reason: null });
      }),
    );
  });

  it('takes no verdict from a server out of order, a proxy or a redirect, but by a rule', () => {
    const refusal = fc.constantFrom(...codes, 'token_expired', 'login_required');
    const status = fc.oneof(fc.integer({ min: 500, max: 599 }), fc.integer({ min: 300, max: 399 }));
    fc.assert(
      fc.property(definition, status, refusal, headers, (by, code, error, sent) => {
        const answer = { status: code, headers: sent, body: new Secret(JSON.stringify({ error })) };
        const judgement = judge({ ...by, errors: [] }, { kind: 'answer', ...answer });
        if (judgement.kind === 'failure') expect(judgement.class).not.toBe('permanent');
      }),
    );
  });

  it('never gives a secret of the request or the answer as its code', () => {
    const letters = fc.string({
      unit: fc.constantFrom(...Array.from('abcdefghijklmnop_.-')),
      minLength: 8,
      maxLength: 48,
    });
    // Words that a code may well be made of, and tokens as they look.
    const secret = fc.oneof(
      letters.filter((text) => /[a-p]{4}/.test(text)),
      fc.base64String({ minLength: 16 }),
    );
    const disguise = fc.constantFrom<(text: string) => string>(
      (text) => text,
      (text) => text.toLowerCase(),
      (text) => text.slice(0, 12),
      (text) => `bad_${text}`.toLowerCase(),
      (text) => text.replaceAll(/[^A-Za-z]/g, ''),
    );
    const place = fc.constantFrom('request', 'access_token', 'refresh_token', 'client_secret');
    fc.assert(
      fc.property(secret, disguise, place, status, (text, wear, where, code) => {
        const echoed = wear(text);
        const error = { error: echoed, [where === 'request' ? 'x' : where]: text };
        const sent = where === 'request' ? [new Secret(text)] : [];
        const by = parseProviderDefinition({ token_url: 'https://as.example.com/token' });
        const seen = where === 'request' ? { error: echoed } : error;
        const body = new Secret(JSON.stringify(seen));
        const judgement = judge(by, { kind: 'answer', status: code, headers: {}, body }, sent);
        if (judgement.kind === 'failure') expect(judgement.code).toBe(`http_${code}`);
      }),
      { numRuns: 500 },
    );
  });
});
