import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createTokenEndpoint } from '../../oauth/token-endpoint.ts';
import { systemClock } from '../../platform/clock.ts';
import { Secret } from '../../platform/secret.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
  type Step,
} from '../support/scripted-token-endpoint.ts';
import { defineProvider, loopbackEgress, noKeys } from './definitions.ts';

let endpoint: ScriptedTokenEndpoint;

beforeEach(async () => {
  endpoint = await startScriptedTokenEndpoint();
});
afterEach(async () => {
  await endpoint.close();
});

function revoke(members: Record<string, unknown> = {}, clientSecret: string | null = 'secret-1') {
  const tokens = createTokenEndpoint({
    egress: loopbackEgress(),
    clock: systemClock,
    randomUuid: randomUUID,
  });
  const definition = defineProvider({ revoke_url: endpoint.url, ...members });
  return tokens.revoke(
    {
      definition,
      variables: {},
      clientId: 'client-1',
      clientSecret: clientSecret === null ? null : new Secret(clientSecret),
      ...noKeys,
      credential: null,
      scope: null,
    },
    { token: new Secret('rt-1'), kind: 'refresh_token' },
  );
}

it('asks with the client authentication of the token request, by a form with a hint', async () => {
  endpoint.script({ body: '' });
  expect(await revoke({ client_auth: 'basic', request: { body_format: 'json' } })).toEqual({
    kind: 'revoked',
    code: null,
  });
  const [received] = endpoint.requests;
  expect(received).toMatchObject({ method: 'POST' });
  expect(received?.params).toEqual({ token: 'rt-1', token_type_hint: 'refresh_token' });
  expect(received?.headers).toMatchObject({
    authorization: `Basic ${Buffer.from('client%2D1:secret%2D1').toString('base64')}`,
  });
});

// RFC 7009 section 2.2 and 2.2.1, and what providers answer beside it.
it.each<[string, Step, object]>([
  ['a 204', { status: 204, body: '' }, { kind: 'revoked', code: null }],
  [
    'a token that is none',
    { status: 400, body: { error: 'invalid_token' } },
    { kind: 'revoked', code: 'invalid_token' },
  ],
  [
    'a kind of token that cannot be revoked',
    { status: 400, body: { error: 'unsupported_token_type' } },
    { kind: 'revoked', code: 'unsupported_token_type' },
  ],
  [
    'a grant that is over',
    { status: 400, body: { error: 'token_revoked' } },
    { kind: 'revoked', code: 'token_revoked' },
  ],
  [
    'not yet',
    { status: 503, headers: { 'retry-after': '7' }, body: '' },
    { kind: 'failed', code: 'http_503', retryAfterSeconds: 7 },
  ],
  [
    'a client that is not known',
    { status: 401, body: { error: 'invalid_client' } },
    { kind: 'client_refused', code: 'invalid_client' },
  ],
  ['a 401 without a word', { status: 401, body: '' }, { kind: 'client_refused', code: 'http_401' }],
  [
    'an error that says nothing',
    { status: 404, body: { error: 'rt-1' } },
    { kind: 'failed', code: 'http_404', retryAfterSeconds: null },
  ],
])('reads %s', async (_name, step, answer) => {
  endpoint.script(step);
  expect(await revoke()).toEqual(answer);
});

it.each([
  ['without a secret', {}, null, 'request_incomplete'],
  ['without a URL', { revoke_url: undefined }, 'secret-1', 'url_incomplete'],
  [
    'to a host that may not be called',
    { revoke_url: 'https://10.0.0.1/' },
    'secret-1',
    'egress_refused',
  ],
])('sends nothing %s', async (_name, members, secret, code) => {
  expect(await revoke(members, secret)).toEqual({ kind: 'failed', code, retryAfterSeconds: null });
  expect(endpoint.requests).toEqual([]);
});
