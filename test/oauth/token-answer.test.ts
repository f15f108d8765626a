import fc from 'fast-check';
import * as oauth from 'oauth4webapi';
import { describe, expect, it } from 'vitest';
import { strictWarnings } from '../../oauth/strict-check.ts';
import { extractTokens, type ExtractedTokens } from '../../oauth/token-answer.ts';
import { answerOf, defineProvider } from './definitions.ts';

/** Extracted, with the tokens in clear so that they can be compared. */
function extract(body: string | object, members: Record<string, unknown> = {}) {
  const tokens = extractTokens(defineProvider(members), answerOf(body));
  return tokens === null ? null : reveal(tokens);
}

function reveal(tokens: ExtractedTokens) {
  return {
    ...tokens,
    accessToken: tokens.accessToken?.reveal() ?? null,
    refreshToken: tokens.refreshToken?.reveal() ?? null,
  };
}

function nested(levels: number): unknown {
  return levels === 0 ? 'x' : [nested(levels - 1)];
}

describe('extractTokens', () => {
  it('reads the answer of RFC 6749 §5.1', () => {
    const body = {
      access_token: 'at',
      token_type: 'Bearer',
      expires_in: 3_600,
      refresh_token: 'rt',
      scope: 'a b',
    };
    expect(extract(body)).toEqual({
      accessToken: 'at',
      refreshToken: 'rt',
      expiresInSeconds: 3_600,
      expiresAt: null,
      refreshExpiresInSeconds: null,
      scope: 'a b',
      tokenType: 'Bearer',
      metadata: {},
      warnings: [],
    });
  });

  it('R08 has no refresh token when the answer omits it', () => {
    expect(extract({ access_token: 'at' })).toMatchObject({ refreshToken: null, warnings: [] });
  });

  it('R09 counts an empty or null refresh token as absent, with a warning', () => {
    expect(extract({ access_token: 'at', refresh_token: '' })).toMatchObject({
      refreshToken: null,
      warnings: ['refresh_token_empty'],
    });
    expect(extract({ access_token: 'at', refresh_token: null })).toMatchObject({
      refreshToken: null,
      warnings: ['refresh_token_null'],
    });
  });

  it('R11 has no lifetime when the answer names none', () => {
    expect(extract({ access_token: 'at' })).toMatchObject({
      expiresInSeconds: null,
      expiresAt: null,
      warnings: [],
    });
  });

  it.each([
    [{ expires_in: '3600' }, 3_600],
    [{ expires_in: 0 }, 0],
    [{ expires_in: -1 }, -1],
    [{ expires_in: 1e12 }, 1e12],
    [{ expires_in: 'NaN' }, null],
    [{ expires_in: 'soon' }, null],
    [{ expires_in: '' }, null],
    [{ expires_in: true }, null],
    [{ expires_in: null }, null],
  ])('R13 reads %j as a lifetime of %s', (members, expiresInSeconds) => {
    const tokens = extract({ access_token: 'at', refresh_token: 'rt', ...members });
    expect(tokens).toMatchObject({ accessToken: 'at', refreshToken: 'rt', expiresInSeconds });
  });

  it('R13 keeps the tokens of an answer that holds a literal NaN', () => {
    const body = '{"access_token":"NaN \\" Infinity","expires_in":NaN,"refresh_token":"rt"}';
    expect(extract(body)).toMatchObject({
      accessToken: 'NaN " Infinity',
      refreshToken: 'rt',
      expiresInSeconds: null,
    });
  });

  it('R14 keeps tokens of 8 KiB whole and ignores members it does not know', () => {
    const long = 'x'.repeat(8_192);
    const tokens = extract({ access_token: long, refresh_token: long, warning: 'y', n: { m: [] } });
    expect(tokens).toMatchObject({ accessToken: long, refreshToken: long, warnings: [] });
  });

  it('R17 reads a form, whatever it is labelled', () => {
    const form = 'access_token=a%2Bt&refresh_token=rt&expires_in=28800&scope=';
    const tokens = {
      accessToken: 'a+t',
      refreshToken: 'rt',
      expiresInSeconds: 28_800,
      scope: null,
    };
    expect(extract(form)).toMatchObject(tokens);
    expect(extract(form, { response: { format: 'json' } })).toMatchObject(tokens);
    expect(extract('{"access_token":"at"}', { response: { format: 'form' } })).toMatchObject({
      accessToken: 'at',
    });
  });

  it.each([
    ['2026-11-23T12:00:00Z', 'auto'],
    ['2026-11-23T14:00:00+02:00', 'iso8601'],
    ['2026-11-23T12:00:00.000', 'auto'],
    [1_795_435_200, 'auto'],
    ['1795435200', 'epoch_s'],
    [1_795_435_200_000, 'auto'],
    [1_795_435_200_000, 'epoch_ms'],
  ])('reads an expires_at of %s (%s)', (expires_at, format) => {
    const response = { expires_at: { pointer: '/expires_at', format } };
    const tokens = extract({ access_token: 'at', expires_at }, { response });
    expect(tokens?.expiresAt?.toISOString()).toBe('2026-11-23T12:00:00.000Z');
  });

  it.each(['tomorrow', '', null, true, 1e300, {}])('reads no instant from %j', (expires_at) => {
    expect(extract({ access_token: 'at', expires_at })).toMatchObject({ expiresAt: null });
  });

  it('follows pointers into nested answers', () => {
    const response = {
      access_token: '/data/tokens/0/value',
      refresh_token: '/data/re~1fresh',
      expires_in: { pointer: '/data/ttl', unit: 'milliseconds' },
      refresh_expires_in: '/data/rttl',
      scope: '/data/scopes',
      token_type: '/data/type',
      metadata: ['/data/instance', { name: 'team', pointer: '/team/id' }, '/missing'],
    };
    const body = {
      data: {
        tokens: [{ value: 'at' }],
        're/fresh': 'rt',
        ttl: 60_000,
        rttl: '120',
        scopes: ['a,b', 'c'],
        type: 'bot',
        instance: 'https://x.example.com',
      },
      team: { id: 7 },
      access_token: 'the wrong one',
    };
    expect(extract(body, { response, scope: { separator: ',' } })).toEqual({
      accessToken: 'at',
      refreshToken: 'rt',
      expiresInSeconds: 60,
      expiresAt: null,
      refreshExpiresInSeconds: 120,
      scope: 'a b c',
      tokenType: 'bot',
      metadata: { instance: 'https://x.example.com', team: 7 },
      warnings: [],
    });
  });

  it('leaves out metadata that holds a token, and what is too large', () => {
    const metadata = ['/all', '/long'];
    const body = { access_token: 'at-1', all: { copy: 'x at-1 y' }, long: 'z'.repeat(20_000) };
    expect(extract(body, { response: { metadata } })).toMatchObject({
      metadata: {},
      warnings: ['metadata_holds_token', 'metadata_too_large'],
    });
  });

  it('follows no inherited member', () => {
    const response = { access_token: '/constructor/name' };
    expect(extract({ a: 1 }, { response })).toMatchObject({ accessToken: null });
  });

  it.each([
    '',
    '   ',
    '<html></html>',
    '{"access_token":"a',
    '[1]',
    'null',
    '"text"',
    'plain text',
  ])('R36 finds nothing to read in %j', (body) => {
    expect(extract(body)).toBeNull();
  });

  it.each<[string, object, string, Record<string, unknown>]>([
    ['a scope with NUL', { scope: 'a\u0000b' }, 'scope_unusable', { scope: null }],
    ['half a surrogate pair', { scope: 'a\ud800' }, 'scope_unusable', { scope: null }],
    ['a huge scope', { scope: 'a '.repeat(20_000) }, 'scope_unusable', { scope: null }],
    ['a token type of many lines', { token_type: 'a\nb' }, 'token_type_unusable', {}],
    ['metadata with NUL', { x: 'a\u0000' }, 'metadata_unusable', { metadata: {} }],
    ['metadata with half a pair', { x: ['\udfff'] }, 'metadata_unusable', { metadata: {} }],
    ['deep metadata', { x: nested(40) }, 'metadata_too_deep', { metadata: {} }],
  ])('keeps the tokens beside %s, which no store takes', (_name, odd, warning, rest) => {
    const body = { access_token: 'at', refresh_token: 'rt', ...odd };
    expect(extract(body, { response: { metadata: ['/x'] } })).toMatchObject({
      accessToken: 'at',
      refreshToken: 'rt',
      warnings: [warning],
      ...rest,
    });
  });

  it('keeps the tokens beside metadata deeper than any stack', () => {
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    const body = `{"access_token":"at","refresh_token":"rt","x":${deep}}`;
    expect(extract(body, { response: { metadata: ['/x'] } })).toMatchObject({ refreshToken: 'rt' });
  });

  it.each<[unknown, number | null]>([
    [1e300, 630_720_000],
    ['1e99', 630_720_000],
    [-1, null],
    [0, 0],
  ])('takes a lifetime of %j of the refresh token for %j, which is a date', (written, seconds) => {
    const body = { access_token: 'at', refresh_token_expires_in: written };
    expect(extract(body)).toMatchObject({ refreshExpiresInSeconds: seconds });
  });

  it('is done at once with a body of 1 MiB whose text does not end', () => {
    const startedAt = performance.now();
    expect(extract(`{"access_token":"${'\\"'.repeat(2 ** 19)}`)).toBeNull();
    // Trying again at each of the quotes takes minutes.
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });

  it('never throws', () => {
    const member = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.constant(null), fc.object());
    const names = fc.constantFrom(
      'access_token',
      'refresh_token',
      'expires_in',
      'expires_at',
      'scope',
    );
    const body = fc.oneof(fc.string(), fc.json(), fc.dictionary(names, member));
    fc.assert(
      fc.property(body, (content) => {
        extractTokens(defineProvider(), answerOf(content));
      }),
    );
  });

  it('reads nothing where there is no answer', () => {
    expect(extractTokens(defineProvider(), { kind: 'no_answer', code: 'ECONNRESET' })).toBeNull();
  });
});

describe('strictWarnings', () => {
  it.each([
    [{ access_token: 'at', token_type: 'Bearer', expires_in: 60 }, []],
    [{ access_token: 'at' }, ['oauth_invalid_response']],
    [{ access_token: 'at', token_type: 'bearer', scope: ['a'] }, ['oauth_invalid_response']],
    [{ access_token: 'at', token_type: 'bearer', id_token: 'not a JWT' }, []],
  ])('of %j are %j', async (body, warnings) => {
    expect(await strictWarnings(defineProvider(), answerOf(body))).toEqual(warnings);
  });

  it('are those of the answer itself, whatever like it came before', async () => {
    const value = fc.oneof(
      fc.constantFrom('', 'Bearer', 'dpop', 'mac', '60', 'soon', 0, -1, 60, null),
      fc.constantFrom<unknown>(true, [], ['60'], {}),
    );
    const names = fc.constantFrom(
      ...['access_token', 'refresh_token', 'expires_in', 'token_type', 'scope', 'error', 'other'],
    );
    await fc.assert(
      fc.asyncProperty(fc.dictionary(names, value, { maxKeys: 2 }), async (changes) => {
        const body = { access_token: 'at', token_type: 'Bearer', ...changes };
        const response = Response.json(body);
        const refusal = await oauth
          .processRefreshTokenResponse(
            { issuer: 'https://as.invalid' },
            { client_id: 'c' },
            response,
          )
          .then(() => undefined)
          .catch((error: unknown) => error as { code?: string });
        const expected = refusal === undefined ? [] : [refusal.code?.toLowerCase()];
        expect(await strictWarnings(defineProvider(), answerOf(body))).toEqual(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  it('name a status other than 200', async () => {
    const answer = answerOf({ access_token: 'at', token_type: 'bearer' }, { status: 201 });
    expect(await strictWarnings(defineProvider(), answer)).toEqual(['status_not_200']);
  });
});
