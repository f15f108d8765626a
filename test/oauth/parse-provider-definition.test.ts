import { describe, expect, it } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import { parseProviderDefinition } from '../../oauth/parse-provider-definition.ts';

/** Pointers of the faults, sorted. */
function faultsOf(json: unknown): string[] {
  try {
    parseProviderDefinition(json);
    return [];
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    expect(error.code).toBe('input_validation');
    return (error.errors ?? []).map((fault) => ('pointer' in fault ? fault.pointer : '')).sort();
  }
}

const base = { token_url: 'https://as.example.com/token' };

describe('parseProviderDefinition', () => {
  it('applies the defaults: the strictest rotation class, a POSTed form, one exchange a second', () => {
    expect(parseProviderDefinition(base)).toMatchObject({
      tokenUrl: 'https://as.example.com/token',
      refreshUrl: null,
      clientAuth: 'post',
      basicEncoding: 'strict',
      request: {
        method: 'POST',
        bodyFormat: 'form',
        params: {},
        omit: [],
        rename: {},
        headers: {},
      },
      credential: 'refresh_token',
      grantType: 'refresh_token',
      scope: { send: false, separator: ' ' },
      response: { format: 'auto', accessToken: '/access_token', refreshToken: '/refresh_token' },
      expiry: { defaultTtlSeconds: null, skewSeconds: 0, never: false },
      rotation: { class: 'F', graceSeconds: null, oldAccessTokenDies: false },
      limits: { minIntervalSeconds: 1, perWindow: null, concurrency: null },
    });
  });

  it('says of a member that is not there that it is required', () => {
    expect(() => parseProviderDefinition({})).toThrow(
      expect.objectContaining({ errors: [{ pointer: '/token_url', detail: 'is required' }] }),
    );
  });

  it('takes client credentials for class S, with their own grant', () => {
    expect(parseProviderDefinition({ ...base, credential: 'client' })).toMatchObject({
      grantType: 'client_credentials',
      rotation: { class: 'S' },
    });
  });

  it.each<[string, Record<string, unknown>, string[]]>([
    ['no token_url', { token_url: undefined }, ['/token_url']],
    ['an unknown member', { tokenUrl: 'x' }, ['/tokenUrl']],
    [
      'unknown members below',
      { request: { bodyFormat: 1, x: 2 } },
      ['/request/bodyFormat', '/request/x'],
    ],
    ['several faults at once', { client_auth: 'x', scope: 1 }, ['/client_auth', '/scope']],
    ['a scheme that is none', { token_url: 'ftp://a/b' }, ['/token_url']],
    ['user information', { token_url: 'https://u:p@a/b' }, ['/token_url']],
    ['a fragment', { token_url: 'https://a/b#c' }, ['/token_url']],
    ['a URL that is none', { revoke_url: 'https://a b/' }, ['/revoke_url']],
    ['a placeholder for the scheme', { token_url: '${base}/token' }, ['/token_url']],
    ['an undeclared placeholder', { token_url: 'https://${tenant}.a.com/' }, ['/token_url']],
    ['a placeholder with a strange name', { token_url: 'https://${A-B}.a.com/' }, ['/token_url']],
    [
      'an undeclared header placeholder',
      { request: { headers: { 'x-a': '${y}' } } },
      ['/request/headers/x-a'],
    ],
    [
      'a reserved header',
      { request: { headers: { Authorization: 'x' } } },
      ['/request/headers/Authorization'],
    ],
    [
      'a header with a line break',
      { request: { headers: { 'x-a': 'a\r\nb' } } },
      ['/request/headers/x-a'],
    ],
    [
      'a pattern without anchors',
      { variables: { a: { pattern: '[a-z]+' } } },
      ['/variables/a/pattern'],
    ],
    ['a pattern that is none', { variables: { a: { pattern: '^($' } } }, ['/variables/a/pattern']],
    ['a variable without pattern', { variables: { a: {} } }, ['/variables/a/pattern']],
    ['a host pattern that is none', { allowed_hosts: ['https://a.com'] }, ['/allowed_hosts/0']],
    [
      'a pointer that is none',
      { response: { access_token: 'access_token' } },
      ['/response/access_token'],
    ],
    [
      'a regex that is none',
      { errors: [{ when: { message_regex: '(' }, class: 'permanent' }] },
      ['/errors/0/when/message_regex'],
    ],
    ['an empty when', { errors: [{ when: {}, class: 'permanent' }] }, ['/errors/0/when']],
    [
      'equals without pointer',
      { errors: [{ when: { equals: 1 }, class: 'permanent' }] },
      ['/errors/0/when'],
    ],
    [
      'an unknown class',
      { errors: [{ when: { status: 400 }, class: 'fatal' }] },
      ['/errors/0/class'],
    ],
    ['class T without grace', { rotation: { class: 'T' } }, ['/rotation/grace_seconds']],
    [
      'class T with no time to replay',
      { rotation: { class: 'T', grace_seconds: 2 } },
      ['/rotation/grace_seconds'],
    ],
    [
      'grace without class T',
      { rotation: { class: 'F', grace_seconds: 30 } },
      ['/rotation/grace_seconds'],
    ],
    [
      'rotating client credentials',
      { credential: 'client', rotation: { class: 'F' } },
      ['/rotation/class'],
    ],
    ['an access token without grant type', { credential: 'access_token' }, ['/grant_type']],
    ['GET with a body', { request: { method: 'GET' } }, ['/request/body_format']],
    [
      'a negative limit',
      { limits: { min_interval_seconds: -1 } },
      ['/limits/min_interval_seconds'],
    ],
    ['a member name with slash and tilde', { 'a/b~c': 1 }, ['/a~1b~0c']],
  ])('refuses %s', (_name, members, pointers) => {
    expect(faultsOf({ ...base, ...members })).toEqual(pointers);
  });

  it.each([null, [], 'text', 7])('refuses %j', (json) => {
    expect(faultsOf(json)).toEqual(['']);
  });

  it('matches variables whole, whatever the pattern alternates', () => {
    const { variables } = parseProviderDefinition({
      ...base,
      variables: { a: { pattern: '^eu|us$' } },
    });
    const matches = (text: string) => variables['a']?.pattern.test(text);
    expect(['eu', 'us', 'eu.evil.com', 'evil.us'].map(matches)).toEqual([true, true, false, false]);
  });
});

describe('ambiguity', () => {
  const introspectUrl = 'https://as.example.com/introspect';

  it('is decided by class, and probed where the provider can be asked', () => {
    expect(parseProviderDefinition(base).ambiguity).toEqual({
      policy: 'by_class',
      probe: 'none',
      confirmAfterSeconds: null,
    });
    const asked = parseProviderDefinition({ ...base, introspect_url: introspectUrl });
    expect(asked.ambiguity.probe).toBe('introspection');
  });

  it('is what the definition says', () => {
    const ambiguity = { policy: 'never_replay', probe: 'none', confirm_after_seconds: 30 };
    const definition = parseProviderDefinition({
      ...base,
      introspect_url: introspectUrl,
      ambiguity,
    });
    expect(definition.ambiguity).toEqual({
      policy: 'never_replay',
      probe: 'none',
      confirmAfterSeconds: 30,
    });
  });

  it.each([
    ['nowhere to ask', { ambiguity: { probe: 'introspection' } }],
    [
      'no refresh token to ask about',
      {
        ambiguity: { probe: 'introspection' },
        introspect_url: introspectUrl,
        credential: 'client',
      },
    ],
  ])('refuses a probe with %s', (_name, members) => {
    expect(faultsOf({ ...base, ...members })).toEqual(['/ambiguity/probe']);
  });
});

describe('client authentication', () => {
  it('by assertion has the algorithm that goes with its key', () => {
    const algOf = (members: object) => parseProviderDefinition({ ...base, ...members }).assertion;
    expect(algOf({ client_auth: 'private_key_jwt' })).toEqual({
      alg: 'RS256',
      iss: null,
      aud: null,
    });
    expect(algOf({ client_auth: 'client_secret_jwt' }).alg).toBe('HS256');
    const own = { alg: 'ES256', iss: '${client_id}', aud: 'https://as.example.com' };
    expect(algOf({ client_auth: 'private_key_jwt', assertion: own })).toEqual(own);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['an assertion without its method', { assertion: {} }, '/assertion'],
    [
      'a secret algorithm with a private key',
      { client_auth: 'private_key_jwt', assertion: { alg: 'HS256' } },
      '/assertion/alg',
    ],
    [
      'a key algorithm with a client secret',
      { client_auth: 'client_secret_jwt', assertion: { alg: 'RS256' } },
      '/assertion/alg',
    ],
    [
      'an unknown placeholder',
      { client_auth: 'private_key_jwt', assertion: { aud: '${host}' } },
      '/assertion/aud',
    ],
    [
      'an assertion that is left out',
      { client_auth: 'private_key_jwt', request: { omit: ['client_assertion'] } },
      '/request/omit',
    ],
    ['TLS without TLS', { client_auth: 'tls', token_url: 'http://a.example.com' }, '/token_url'],
    ['a template of basic with another method', { basic_user: '${client_id}' }, '/basic_user'],
    ['a proof as a header', { request: { headers: { DPoP: 'x' } } }, '/request/headers/DPoP'],
    [
      'the access token in a header',
      { request: { headers: { 'x-token': '${access_token}' } } },
      '/request/headers/x-token',
    ],
  ])('refuses %s', (_name, members, pointer) => {
    expect(faultsOf({ ...base, ...members })).toEqual([pointer]);
  });
});
