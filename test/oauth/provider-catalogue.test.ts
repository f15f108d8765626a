import { describe, expect, it } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import { placeholders } from '../../oauth/url-template.ts';

const builtIn = loadBuiltInProviders();
const catalogue = createProviderCatalogue({ builtIn });

function faultsOf(act: () => unknown): { code: string; errors: unknown } {
  try {
    act();
  } catch (error) {
    if (error instanceof TokenManagerError) return { code: error.code, errors: error.errors };
    throw error;
  }
  return { code: 'none', errors: undefined };
}

describe('the catalogue', () => {
  it('holds these providers, each with its sources and a variable for every placeholder', () => {
    expect(catalogue.names()).toEqual([
      'atlassian',
      'auth0',
      'box',
      'demo',
      'generic',
      'github',
      'gitlab',
      'google',
      'hubspot',
      'microsoft',
      'notion',
      'okta',
      'quickbooks',
      'salesforce',
      'slack',
      'xero',
      'zendesk',
      'zoho',
      'zoom',
    ]);
    for (const name of catalogue.names().filter((name) => name !== 'generic')) {
      const definition = catalogue.resolve(name, {});
      if (name !== 'demo') expect(definition.docs).not.toEqual([]);
      const templates = [definition.tokenUrl, ...Object.values(definition.request.params)];
      const used = templates.flatMap((template) => placeholders(String(template)));
      expect(Object.keys(definition.variables)).toEqual(used);
    }
    expect(catalogue.warnings()).toEqual([]);
  });

  it('merges overrides deeply, replaces arrays, and null takes away', () => {
    const definition = catalogue.resolve('slack', {
      request: { headers: { 'x-a': 'b' } },
      rotation: { old_access_token_dies: true },
      errors: [],
      expiry: null,
    });
    expect(definition.rotation).toEqual({
      class: 'X',
      graceSeconds: null,
      oldAccessTokenDies: true,
    });
    expect(definition.errors).toEqual([]);
    expect(definition.expiry.defaultTtlSeconds).toBeNull();
    expect(definition.response.successWhen).toEqual({ pointer: '/ok', equals: true });
    expect(definition.request.headers).toEqual({ 'x-a': 'b' });
  });

  it('takes the example of the contract', () => {
    const overrides = {
      token_url: 'https://${tenant}.example.com/token',
      variables: { tenant: { pattern: '^[a-z0-9-]{1,63}$' } },
      client_auth: 'basic',
      rotation: { class: 'T', grace_seconds: 30 },
    };
    expect(catalogue.describe('generic', overrides)).toEqual({
      credential: 'refresh_token',
      rotationClass: 'T',
      endpointHosts: ['https://${tenant}.example.com'],
      hostVariablePatterns: { tenant: '^(?:^[a-z0-9-]{1,63}$)$' },
      allowedHosts: null,
      privateKeyAlg: null,
      needsDpopKey: false,
      canRevoke: false,
      grantLifetime: { keepAliveSeconds: null, absoluteSeconds: null },
    });
  });

  it('answers the same definition for the same overrides, and no other', () => {
    const overrides = { token_url: 'https://a.example.com/token' };
    const first = catalogue.resolve('generic', overrides);
    expect(catalogue.resolve('generic', { ...overrides })).toBe(first);
    expect(catalogue.resolve('generic', { token_url: 'https://b.example.com/token' })).not.toBe(
      first,
    );
  });

  it('refuses an unknown provider, also one that objects have by themselves', () => {
    expect(faultsOf(() => catalogue.resolve('nobody', {})).code).toBe('provider_not_found');
    expect(faultsOf(() => catalogue.resolve('constructor', {})).code).toBe('provider_not_found');
  });

  it('points at faults under /overrides', () => {
    expect(faultsOf(() => catalogue.describe('generic', {}))).toMatchObject({
      code: 'input_validation',
      errors: [{ pointer: '/overrides/token_url' }],
    });
    const polluting = JSON.parse('{"__proto__": {"token_url": "https://a/b"}}') as object;
    expect(faultsOf(() => catalogue.describe('google', { ...polluting, x: 1 }))).toMatchObject({
      code: 'input_validation',
    });
  });

  it('checks variables: missing, not matching, leading to a host that is not allowed', () => {
    const check = (variables: Record<string, string>) =>
      faultsOf(() => catalogue.checkVariables('salesforce', {}, variables));
    expect(check({})).toMatchObject({ errors: [{ pointer: '/variables/domain' }] });
    expect(check({ domain: 'evil.com' })).toMatchObject({
      code: 'input_validation',
      errors: [{ pointer: '/variables/domain' }],
    });
    expect(check({ domain: 'evil.com/x.salesforce.com' }).code).toBe('input_validation');
    expect(check({ domain: 'acme.my.salesforce.com', other: 'kept' }).code).toBe('none');

    const loose = { variables: { domain: { pattern: '^.*$' } } };
    expect(
      faultsOf(() => catalogue.checkVariables('salesforce', loose, { domain: 'evil.com' })),
    ).toMatchObject({ errors: [{ pointer: '/variables' }] });
  });

  it('takes further definitions from PROVIDERS_FILE, which replace built-in ones', () => {
    const providersFile = JSON.stringify({
      acme: {
        token_url: 'https://acme.example.com/t',
        rotation: { class: 'T', grace_seconds: 10 },
      },
      google: { token_url: 'https://google.example.com/t' },
    });
    const extended = createProviderCatalogue({ builtIn, providersFile });
    expect(extended.names()).toContain('acme');
    expect(extended.resolve('google', {}).tokenUrl).toBe('https://google.example.com/t');
    expect(extended.warnings()).toEqual([expect.stringContaining('provider acme: grace_seconds')]);
  });

  it.each([
    ['{', ''],
    ['[]', ''],
    ['{"acme": 1}', '/acme'],
    ['{"Acme!": {}}', '/Acme!'],
    ['{"acme": {"token_url": "x"}}', '/acme/token_url'],
  ])('refuses a PROVIDERS_FILE of %s', (providersFile, pointer) => {
    expect(faultsOf(() => createProviderCatalogue({ builtIn, providersFile }))).toMatchObject({
      code: 'input_validation',
      errors: [{ pointer }],
    });
  });
});
