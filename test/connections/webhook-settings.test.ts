import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { eventTypes, TokenManagerError } from '../../client/contract.ts';
import { isFor, parseWebhookFile, webhookFileSchema } from '../../connections/webhook-settings.ts';

const docs = new URL('../../docs/', import.meta.url);
const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const valid = { name: 'product', url: 'https://product.example.com/hook', secrets: [secret] };

function parse(...endpoints: object[]) {
  return parseWebhookFile(JSON.stringify({ endpoints }));
}

function faultsOf(text: string): string[] {
  try {
    parseWebhookFile(text);
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    expect(inspect(error, { depth: 9 })).not.toContain(secret.slice(8));
    return (error.errors ?? []).map((fault) => ('pointer' in fault ? fault.pointer : '?'));
  }
  return [];
}

describe('WEBHOOKS_FILE', () => {
  it('gives an endpoint everything but refreshes, of everybody, unless it says otherwise', () => {
    const [endpoint] = parse(valid);
    if (endpoint === undefined) throw new Error('no endpoint');
    const told = eventTypes.filter((type) => isFor(endpoint, { type, tenantId: 'acme' }));
    expect(told).toEqual(eventTypes.filter((type) => type !== 'connection.refreshed'));
    expect(isFor(endpoint, { type: 'app.misconfigured', tenantId: null })).toBe(true);
    const [only] = parse({ ...valid, events: ['connection.refreshed'], tenants: ['acme'] });
    if (only === undefined) throw new Error('no endpoint');
    expect(isFor(only, { type: 'connection.refreshed', tenantId: 'acme' })).toBe(true);
    expect(isFor(only, { type: 'connection.refreshed', tenantId: 'other' })).toBe(false);
    expect(isFor(only, { type: 'connection.recovered', tenantId: 'acme' })).toBe(false);
  });

  it('gives no app’s events to an endpoint of some tenants', () => {
    const [endpoint] = parse({ ...valid, tenants: ['acme'] });
    expect(endpoint && isFor(endpoint, { type: 'app.recovered', tenantId: null })).toBe(false);
  });

  it('does not print its secrets', () => {
    expect(inspect(parse(valid), { depth: 9 })).not.toContain(secret.slice(8));
    expect(JSON.stringify(parse(valid))).not.toContain(secret.slice(8));
  });

  it.each([
    ['an unknown member', { ...valid, secret }, '/endpoints/0/secret'],
    ['a name in capitals', { ...valid, name: 'Product' }, '/endpoints/0/name'],
    ['another scheme', { ...valid, url: 'ftp://example.com' }, '/endpoints/0/url'],
    ['a password in the URL', { ...valid, url: 'https://u:p@example.com' }, '/endpoints/0/url'],
    ['no secret', { ...valid, secrets: [] }, '/endpoints/0/secrets'],
    ['a short secret', { ...valid, secrets: ['whsec_c2hvcnQ='] }, '/endpoints/0/secrets/0'],
    ['what is no secret', { ...valid, secrets: [`${secret}\n`] }, '/endpoints/0/secrets/0'],
    ['an unknown event', { ...valid, events: ['connection.gone'] }, '/endpoints/0/events/0'],
    ['a tenant that is none', { ...valid, tenants: ['a b'] }, '/endpoints/0/tenants/0'],
  ])('refuses %s and says where', (_what, endpoint, pointer) => {
    expect(faultsOf(JSON.stringify({ endpoints: [endpoint] }))).toEqual([pointer]);
  });

  it('refuses a name that is there twice, and what is no JSON', () => {
    expect(faultsOf(JSON.stringify({ endpoints: [valid, valid] }))).toEqual(['/endpoints/1/name']);
    expect(faultsOf(`{"endpoints": "${secret}`)).toEqual(['']);
  });
});

describe('the documents of WEBHOOKS_FILE', () => {
  it('hold the JSON Schema that is checked', () => {
    const text = readFileSync(new URL('webhooks.schema.json', docs), 'utf8');
    expect(JSON.parse(text)).toEqual({
      title: 'WEBHOOKS_FILE of token-manager',
      ...z.toJSONSchema(webhookFileSchema, { io: 'input' }),
    });
  });

  it('hold an example that can be used', () => {
    const text = readFileSync(new URL('webhooks.example.json', docs), 'utf8');
    expect(parseWebhookFile(text).map(({ name }) => name)).toEqual(['product', 'acme-alerts']);
  });
});
