import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { TokenManagerError } from '../../client/contract.ts';
import { callerPolicySchema, parseCallerPolicy } from '../../gateway/caller-policy.ts';
import { policyCaller } from './caller-fixtures.ts';

const docs = new URL('../../docs/', import.meta.url);

/** Pointers and details, as a process prints them. */
function faultsOf(policy: unknown): string[] {
  try {
    parseCallerPolicy(typeof policy === 'string' ? policy : JSON.stringify(policy));
    return [];
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    const faults = error.errors ?? [];
    return faults.map((fault) => `${'pointer' in fault ? fault.pointer : '?'} ${fault.detail}`);
  }
}

const withCaller = (changes: object) => ({ callers: [{ ...policyCaller(), ...changes }] });

describe('a policy', () => {
  it('may hold nobody: then everybody is refused', () => {
    expect(faultsOf({ callers: [] })).toEqual([]);
    expect(parseCallerPolicy('{"callers": []}').byKeyHash.size).toBe(0);
  });

  it.each([
    ['no JSON', '{', ' is not JSON'],
    ['no object', '[]', ' '],
    ['no callers', {}, '/callers '],
    ['a member too many', { callers: [], allow: true }, '/allow is not known'],
    ['a misspelt member', withCaller({ scope: ['tokens:read'] }), '/callers/0/scope is not known'],
    ['no name', withCaller({ name: undefined }), '/callers/0/name '],
    ['a name with a line end', withCaller({ name: 'a\nb' }), '/callers/0/name must be'],
    ['a long name', withCaller({ name: 'x'.repeat(101) }), '/callers/0/name must be'],
    ['an untyped subject', withCaller({ match: ['billing'] }), '/callers/0/match/0 must be uri:'],
    ['an empty subject', withCaller({ match: ['cn:'] }), '/callers/0/match/0 must be uri:'],
    ['a key', withCaller({ key_hashes: ['s3cret-key'] }), '/callers/0/key_hashes/0 must be sha256'],
    ['an unknown scope', withCaller({ scopes: ['admin'] }), '/callers/0/scopes/0 must be one of'],
    ['no scopes', withCaller({ scopes: undefined }), '/callers/0/scopes '],
    ['no tenants', withCaller({ tenants: undefined }), '/callers/0/tenants must be'],
    ['a pattern of tenants', withCaller({ tenants: 'acme-*' }), '/callers/0/tenants must be'],
    [
      'a tenant that cannot be',
      withCaller({ tenants: ['ok', 'a b'] }),
      '/callers/0/tenants/1 must',
    ],
    ['a caller nobody can be', withCaller({ match: [], key_hashes: [] }), '/callers/0 needs match'],
    [
      'apps:write for some tenants',
      withCaller({ scopes: ['apps:write'], tenants: ['acme'] }),
      '/callers/0/tenants must be "*"',
    ],
  ])('with %s is refused', (_what, policy, fault) => {
    const faults = faultsOf(policy);
    expect(faults).toHaveLength(1);
    expect(faults[0]?.startsWith(fault), faults[0]).toBe(true);
    // What stands in the place of a hash may be a key.
    expect(faults.join()).not.toContain('s3cret');
  });

  it('tells every fault at once', () => {
    const faults = faultsOf({
      callers: [
        { ...policyCaller(), scopes: ['x'], tenants: ['a b'] },
        { ...policyCaller(), name: '', more: 1 },
      ],
    });
    expect(faults.map((fault) => fault.split(' ')[0]).sort()).toEqual([
      '/callers/0/scopes/0',
      '/callers/0/tenants/0',
      '/callers/1/more',
      '/callers/1/name',
    ]);
  });

  it('holds each name, subject and key once', () => {
    const twice = { callers: [policyCaller(), policyCaller()] };
    expect(faultsOf(twice)).toEqual([
      '/callers/1/name is that of /callers/0 too',
      '/callers/1/match/0 is that of /callers/0 too',
      '/callers/1/key_hashes/0 is that of /callers/0 too',
    ]);
    const sameHost = ['dns:A.example', 'dns:a.example'];
    expect(faultsOf(withCaller({ match: sameHost }))).toEqual([
      '/callers/0/match/1 is that of /callers/0 too',
    ]);
  });
});

describe('the documents', () => {
  it('hold the JSON Schema that is checked', () => {
    const schema: unknown = JSON.parse(readFileSync(new URL('callers.schema.json', docs), 'utf8'));
    expect(schema).toEqual({
      title: 'CALLERS_FILE of token-manager',
      ...z.toJSONSchema(callerPolicySchema, { io: 'input' }),
    });
  });

  it('hold an example that can be used', () => {
    const example = readFileSync(new URL('callers.example.json', docs), 'utf8');
    const policy = parseCallerPolicy(example);
    expect(policy.bySubject.size).toBeGreaterThan(1);
    expect(policy.byKeyHash.size).toBeGreaterThan(0);
  });
});
