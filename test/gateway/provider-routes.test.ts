import { describe, expect, it } from 'vitest';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import { createProviderDirectory } from '../../oauth/provider-directory.ts';
import { call, createFakeGateway } from './gateway-fakes.ts';

const builtIn = loadBuiltInProviders();
const names = Object.keys(builtIn).sort();

async function namesOf(path: string) {
  const { json } = await call(createFakeGateway().app, 'GET', path);
  const { items, next_cursor: next } = json as { items: { name: string }[]; next_cursor: string };
  return { names: items.map(({ name }) => name), next };
}

describe('GET /v1/providers', () => {
  it('answers the whole catalogue in pages, in the order of names', async () => {
    expect(await namesOf('/v1/providers')).toEqual({ names, next: null });
    const seen: string[] = [];
    let cursor = '';
    do {
      const page = await namesOf(`/v1/providers?limit=7${cursor && `&cursor=${cursor}`}`);
      seen.push(...page.names);
      cursor = page.next;
    } while (cursor);
    expect(seen).toEqual(names);
  });

  it.each(['limit=0', 'limit=501', 'cursor=%00', 'cursor=/', 'after=box'])(
    'refuses ?%s',
    async (query) => {
      const { json } = await call(createFakeGateway().app, 'GET', `/v1/providers?${query}`);
      expect(json).toMatchObject({ status: 400, code: 'input_validation' });
    },
  );
});

describe('GET /v1/providers/{name}', () => {
  it('tells what an app inherits and a connection must say', async () => {
    const { json } = await call(createFakeGateway().app, 'GET', '/v1/providers/zendesk');
    expect(json).toEqual({
      name: 'zendesk',
      display_name: 'Zendesk',
      docs: [
        'https://developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens/',
        'https://support.zendesk.com/hc/en-us/articles/9182123625370',
      ],
      credential: 'refresh_token',
      client_auth: 'post',
      dpop: false,
      token_url: 'https://${subdomain}.zendesk.com/oauth/tokens',
      allowed_hosts: ['*.zendesk.com'],
      variables: { subdomain: { pattern: '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$' } },
      rotation: {
        class: 'X',
        meaning: 'A refresh token is used once; a second use is refused and harms nothing else.',
        grace_seconds: null,
        old_access_token_dies: true,
      },
      lifetimes: {
        access_token_default_seconds: 1_800,
        access_token_never_expires: false,
        refresh_token_idle_seconds: null,
        refresh_token_absolute_seconds: null,
        keep_alive_seconds: null,
      },
      limits: { min_interval_seconds: 1, per_window: null, concurrency: null },
    });
  });

  it.each(names)('%s is told', async (name) => {
    const { status, json } = await call(createFakeGateway().app, 'GET', `/v1/providers/${name}`);
    expect([status, json['name']]).toEqual([200, name]);
  });

  it('has no token URL where each app says its own, and class F by default', async () => {
    const { json } = await call(createFakeGateway().app, 'GET', '/v1/providers/generic');
    expect(json).toMatchObject({ token_url: null, rotation: { class: 'F' } });
  });

  it('tells those of PROVIDERS_FILE, which replace built-in ones', async () => {
    const providersFile = JSON.stringify({
      zendesk: { display_name: 'Ours', token_url: 'https://ours.example.com/token' },
    });
    const providers = createProviderDirectory(createProviderCatalogue({ builtIn, providersFile }));
    const { app } = createFakeGateway({ providers });
    expect((await call(app, 'GET', '/v1/providers/zendesk')).json).toMatchObject({
      display_name: 'Ours',
      token_url: 'https://ours.example.com/token',
      allowed_hosts: null,
    });
  });

  it.each([
    ['nobody', 404, 'provider_not_found'],
    ['constructor', 404, 'provider_not_found'],
    ['a%20b', 400, 'input_validation'],
    ['x'.repeat(256), 400, 'input_validation'],
  ])('%s is %i %s', async (name, status, code) => {
    const { json } = await call(createFakeGateway().app, 'GET', `/v1/providers/${name}`);
    expect(json).toMatchObject({ status, code });
  });
});
