import { describe, expect, it } from 'vitest';
import type { TokenRequest } from '../../oauth/provider-request.ts';
import { buildTokenRequest } from '../../oauth/token-request.ts';
import { Secret } from '../../platform/secret.ts';
import { defineProvider, noKeys } from './definitions.ts';

const url = new URL('https://as.example.com/token');
const sources = { wallMs: () => 1_795_435_200_999, randomUuid: () => 'uuid-1' };

async function build(
  members: Record<string, unknown>,
  given: Partial<TokenRequest> & { secret?: string } = {},
) {
  const { secret = 'secret-1', ...rest } = given;
  const request = await buildTokenRequest(
    {
      definition: defineProvider(members),
      variables: {},
      clientId: 'client-1',
      clientSecret: new Secret(secret),
      ...noKeys,
      credential: new Secret('rt-1'),
      scope: 'a b',
      ...rest,
    },
    url,
    sources,
  );
  if (request === null) throw new Error('not built');
  const isJson = request.headers['content-type'] === 'application/json';
  const params = isJson
    ? (JSON.parse(request.body ?? '') as unknown)
    : Object.fromEntries(new URLSearchParams(request.body ?? ''));
  return { ...request, params };
}

const basicPair = (authorization: string | undefined) =>
  Buffer.from(authorization?.replace(/^Basic /, '') ?? '', 'base64').toString('utf8');

describe('buildTokenRequest', () => {
  it('writes the refresh of RFC 6749 §6 with the client in the body, and no scope', async () => {
    const request = await build({});
    expect(request).toMatchObject({ method: 'POST', path: '/token' });
    expect(request.params).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'rt-1',
      client_id: 'client-1',
      client_secret: 'secret-1',
    });
    expect(request.headers).toEqual({
      'user-agent': 'token-manager',
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded;charset=UTF-8',
    });
  });

  it('sends the scope only if configured, in the separator of the provider', async () => {
    const { params } = await build({ scope: { send: true, separator: ',' } });
    expect(params).toMatchObject({ scope: 'a,b' });
  });

  it('R18 basic strict: id and secret are form-encoded, and nothing is in the body', async () => {
    const { headers, params } = await build({ client_auth: 'basic' }, { secret: 'a:b%+ ü' });
    expect(basicPair(headers['authorization'])).toBe('client%2D1:a%3Ab%25%2B+%C3%BC');
    expect(params).toEqual({ grant_type: 'refresh_token', refresh_token: 'rt-1' });
  });

  it('R18 basic raw: id and secret as they are', async () => {
    const members = { client_auth: 'basic', basic_encoding: 'raw' };
    const { headers, params } = await build(members, { secret: 'a:b%+ ü' });
    expect(basicPair(headers['authorization'])).toBe('client-1:a:b%+ ü');
    expect(params).toEqual({ grant_type: 'refresh_token', refresh_token: 'rt-1' });
  });

  it('basic by template: the secret as user, an empty password', async () => {
    const members = { client_auth: 'basic', basic_user: '${client_secret}', basic_password: '' };
    const { headers } = await build(members, { secret: 'sk_1' });
    expect(basicPair(headers['authorization'])).toBe('sk_1:');
  });

  it('without client authentication only the id goes', async () => {
    const { params, headers } = await build({ client_auth: 'none' }, { clientSecret: null });
    expect(params).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'rt-1',
      client_id: 'client-1',
    });
    expect(headers).not.toHaveProperty('authorization');
  });

  it('writes JSON, with numbers as numbers', async () => {
    const request = { body_format: 'json', params: { expires_in: 1_800, extend: true } };
    expect((await build({ request })).params).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'rt-1',
      client_id: 'client-1',
      client_secret: 'secret-1',
      expires_in: 1_800,
      extend: true,
    });
  });

  it('adds, leaves out and renames parameters, and fills templates in', async () => {
    const request = {
      params: { nonce: '${uuid}', at: '${now}', tenant: '${tenant}', grant_type: 'refresh' },
      omit: ['client_secret'],
      rename: { client_id: 'client_key' },
      headers: { 'X-Correlation-Id': '${uuid}', Accept: '*/*' },
    };
    const variables = { tenant: { pattern: '^.*$' } };
    // A value that looks like a placeholder stays what it is.
    const built = await build(
      { request, variables },
      { variables: { tenant: '${client_secret}' } },
    );
    expect(built.params).toEqual({
      grant_type: 'refresh',
      refresh_token: 'rt-1',
      client_key: 'client-1',
      nonce: 'uuid-1',
      at: '1795435200',
      tenant: '${client_secret}',
    });
    expect(built.headers).toMatchObject({ 'x-correlation-id': 'uuid-1', accept: '*/*' });
  });

  it('writes client credentials, without a credential of the connection', async () => {
    const { params } = await build({ credential: 'client' }, { credential: null });
    expect(params).toEqual({
      grant_type: 'client_credentials',
      client_id: 'client-1',
      client_secret: 'secret-1',
    });
  });

  it('exchanges the access token itself by GET', async () => {
    const built = await build({
      credential: 'access_token',
      grant_type: 'fb_exchange_token',
      request: {
        method: 'GET',
        body_format: 'query',
        rename: { access_token: 'fb_exchange_token' },
      },
    });
    expect(built).toMatchObject({ method: 'GET', body: null });
    expect(Object.fromEntries(new URL(built.path, url).searchParams)).toEqual({
      grant_type: 'fb_exchange_token',
      fb_exchange_token: 'rt-1',
      client_id: 'client-1',
      client_secret: 'secret-1',
    });
    expect(built.headers).not.toHaveProperty('content-type');
  });

  it('gives a grant type of another name its refresh token', async () => {
    expect((await build({ grant_type: 'token_renewal' })).params).toMatchObject({
      grant_type: 'token_renewal',
      refresh_token: 'rt-1',
    });
  });

  it('is not built when a header value would split the request', async () => {
    const definition = {
      request: { headers: { 'x-tenant': '${tenant}' } },
      variables: { tenant: { pattern: '^[^]*$' } },
    };
    await expect(
      build(definition, { variables: { tenant: 'a\r\nauthorization: b' } }),
    ).rejects.toThrow('not built');
  });
});

describe('what providers make of the request', () => {
  it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    [
      'TikTok names the client id otherwise',
      { request: { rename: { client_id: 'client_key' } } },
      {
        client_key: 'client-1',
        client_secret: 'secret-1',
        grant_type: 'refresh_token',
        refresh_token: 'rt-1',
      },
    ],
    [
      'Figma wants no grant_type',
      { client_auth: 'basic', request: { omit: ['grant_type'] } },
      { refresh_token: 'rt-1' },
    ],
    [
      'OneLogin wants the access token beside the refresh token',
      {
        client_auth: 'none',
        request: { params: { access_token: '${access_token}' }, omit: ['client_id'] },
      },
      { grant_type: 'refresh_token', refresh_token: 'rt-1', access_token: 'at-1' },
    ],
    [
      'others want the redirect URI again',
      { client_auth: 'none', request: { params: { redirect_uri: 'https://app.example.com/cb' } } },
      {
        grant_type: 'refresh_token',
        refresh_token: 'rt-1',
        client_id: 'client-1',
        redirect_uri: 'https://app.example.com/cb',
      },
    ],
  ])('%s', async (_name, members, params) => {
    const request = await build(members, { accessToken: new Secret('at-1') });
    expect(request.params).toEqual(params);
  });

  it('Zoho takes everything in the query, behind what the URL holds', async () => {
    const { path, body } = await build({ request: { body_format: 'query' } });
    expect(body).toBeNull();
    expect(Object.fromEntries(new URLSearchParams(path.replace('/token?', '')))).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'rt-1',
      client_id: 'client-1',
      client_secret: 'secret-1',
    });
  });

  it('a parameter that names the access token is not sent without one', async () => {
    const members = { request: { params: { access_token: '${access_token}' } } };
    await expect(build(members)).rejects.toThrow('not built');
  });
});
