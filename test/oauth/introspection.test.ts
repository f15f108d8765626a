import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createTokenEndpoint } from '../../oauth/token-endpoint.ts';
import type { TokenRequest } from '../../oauth/provider-request.ts';
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

function introspect(members: Record<string, unknown> = {}, given: Partial<TokenRequest> = {}) {
  const tokens = createTokenEndpoint({
    egress: loopbackEgress(),
    clock: systemClock,
    randomUuid: randomUUID,
  });
  const definition = defineProvider({ introspect_url: endpoint.url, ...members });
  return tokens.introspect(
    {
      definition,
      variables: {},
      clientId: 'client-1',
      clientSecret: new Secret('secret-1'),
      ...noKeys,
      credential: null,
      scope: null,
      ...given,
    },
    new Secret('rt-1'),
  );
}

it('asks with the client authentication and the headers of the token request, always by a form', async () => {
  endpoint.script({ body: { active: true } });
  const request = { body_format: 'json', headers: { 'x-version': '2' } };
  expect(await introspect({ client_auth: 'basic', request })).toBe('active');
  const [received] = endpoint.requests;
  expect(received).toMatchObject({ method: 'POST' });
  expect(received?.params).toEqual({ token: 'rt-1', token_type_hint: 'refresh_token' });
  expect(received?.headers).toMatchObject({
    authorization: `Basic ${Buffer.from('client%2D1:secret%2D1').toString('base64')}`,
    'content-type': 'application/x-www-form-urlencoded;charset=UTF-8',
    'x-version': '2',
  });
});

it('puts the client into the body where the definition says so', async () => {
  endpoint.script({ body: { active: false } });
  expect(await introspect()).toBe('inactive');
  expect(endpoint.requests[0]?.params).toMatchObject({
    client_id: 'client-1',
    client_secret: 'secret-1',
  });
});

it.each<[string, Step]>([
  ['text instead of a boolean', { body: { active: 'false' } }],
  ['no member active', { body: {} }],
  ['another status', { status: 400, body: { active: false } }],
  ['a page', { body: '<html>active</html>' }],
  ['a signed answer', { body: 'eyJhbGciOiJSUzI1NiJ9.e30.x' }],
  ['more than 64 KiB', { body: { active: true, filler: 'x'.repeat(64 * 1_024) } }],
  ['no answer', { drop: { how: 'reset', when: 'before' } }],
])('knows nothing from %s', async (_name, step) => {
  endpoint.script(step);
  expect(await introspect()).toBe('unknown');
});

it('knows nothing where it may not or cannot ask, and sends nothing', async () => {
  expect(await introspect({ introspect_url: undefined })).toBe('unknown');
  expect(await introspect({ allowed_hosts: ['as.example.com'] })).toBe('unknown');
  expect(await introspect({}, { clientSecret: null })).toBe('unknown');
  expect(await introspect({ introspect_url: 'https://169.254.169.254/x' })).toBe('unknown');
  expect(endpoint.truth().connections).toBe(0);
});
