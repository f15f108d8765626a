import { createHash, timingSafeEqual } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import type { TokenManagerError } from '../../client/contract.ts';
import {
  createAnonymousCallers,
  createCertificateCallers,
  createKeyCallers,
  keyHashOf,
} from '../../gateway/callers.ts';
import { identity, policyCaller, policyOf } from './caller-fixtures.ts';

vi.mock('node:crypto', async (load) => {
  const crypto = await load<{ timingSafeEqual: (a: Buffer, b: Buffer) => boolean }>();
  return { ...crypto, timingSafeEqual: vi.fn(crypto.timingSafeEqual) };
});

const bearer = (authorization?: string) => ({ clientIdentity: null, authorization });
const certificate = (...subjects: string[]) => ({
  clientIdentity: identity(...subjects),
  authorization: undefined,
});
const refused = expect.objectContaining({ code: 'unauthenticated' }) as TokenManagerError;

describe('keys', () => {
  const policy = policyOf(
    policyCaller({ key_hashes: [keyHashOf('one'), keyHashOf('two')] }),
    policyCaller({ name: 'other', match: ['cn:other'], key_hashes: [keyHashOf('three')] }),
  );
  const callers = createKeyCallers(() => policy);

  it.each([
    ['Bearer one', 'billing'],
    ['Bearer two', 'billing'],
    ['bearer  three ', 'other'],
  ])('%s is that of %s', (authorization, name) => {
    expect(callers.identify(bearer(authorization)).name).toBe(name);
  });

  it.each([
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Bearer four',
    'Bearer one two',
    'Basic one',
    'one',
    `Bearer ${keyHashOf('one')}`,
    `Bearer ${'x'.repeat(300)}`,
  ])('refuses %j', (authorization) => {
    expect(() => callers.identify(bearer(authorization))).toThrow(refused);
  });

  it('are compared in constant time by their SHA-256, whether anybody has them or not', () => {
    const forgetful = createKeyCallers(() => ({ ...policy }));
    for (const key of ['one', 'four']) {
      vi.mocked(timingSafeEqual).mockClear();
      const identify = () => forgetful.identify(bearer(`Bearer ${key}`));
      if (key === 'one') identify();
      else expect(identify).toThrow(refused);
      expect(timingSafeEqual).toHaveBeenCalledOnce();
      const [given, held] = vi.mocked(timingSafeEqual).mock.calls[0] ?? [];
      expect(given).toEqual(createHash('sha256').update(key).digest());
      expect(held).toHaveLength(32);
    }
    vi.mocked(timingSafeEqual).mockReturnValueOnce(false);
    expect(() => forgetful.identify(bearer('Bearer one'))).toThrow(refused);
  });

  it('are hashed once while a policy is in force', () => {
    const remembering = createKeyCallers(() => policy);
    remembering.identify(bearer('Bearer one'));
    vi.mocked(timingSafeEqual).mockClear();
    expect(remembering.identify(bearer('Bearer one')).name).toBe('billing');
    expect(timingSafeEqual).not.toHaveBeenCalled();
    expect(() => remembering.identify(bearer('Bearer One'))).toThrow(refused);
  });

  it('are told how to be brought', () => {
    expect(callers.challenge(bearer())).toBe('Bearer realm="token-manager"');
    expect(callers.challenge(bearer('Bearer x'))).toContain('error="invalid_token"');
  });

  it('follow the policy in force', () => {
    let current = policy;
    const following = createKeyCallers(() => current);
    following.identify(bearer('Bearer one'));
    current = policyOf();
    expect(() => following.identify(bearer('Bearer one'))).toThrow(refused);
  });
});

describe('client certificates', () => {
  const policy = policyOf(
    policyCaller({ name: 'first', match: ['uri:spiffe://a/x', 'dns:a.example'] }),
    policyCaller({ name: 'second', match: ['cn:worker', 'dns:b.example'], key_hashes: [] }),
  );
  const callers = createCertificateCallers(() => policy);

  it.each([
    [['uri:spiffe://a/x'], 'first'],
    [['dns:other.example', 'dns:B.Example'], 'second'],
    [['cn:worker'], 'second'],
    // The one that stands first in the file, whatever the certificate begins with.
    [['dns:b.example', 'dns:a.example'], 'first'],
  ])('with %j are those of %s', (subjects, name) => {
    expect(callers.identify(certificate(...subjects)).name).toBe(name);
  });

  it.each([
    [],
    ['uri:spiffe://a/X'],
    ['dns:worker'],
    ['cn:a.example'],
    ['spiffe://a/x'],
    ['cn:__proto__'],
  ])('with %j are nobody’s', (...subjects: string[]) => {
    expect(() => callers.identify(certificate(...subjects))).toThrow(refused);
  });

  it('are refused together with a key, and missing ones too', () => {
    const both = { ...certificate('cn:worker'), authorization: 'Bearer billing-key' };
    expect(() => callers.identify(both)).toThrow(refused);
    expect(() => callers.identify(bearer())).toThrow(refused);
    expect(callers.challenge(both)).toBe('ClientCertificate realm="token-manager"');
  });

  it('are looked up once a connection and policy', () => {
    const lookups = vi.fn();
    const bySubject = new Map(policy.bySubject);
    vi.spyOn(bySubject, 'get').mockImplementation((subject) => {
      lookups();
      return policy.bySubject.get(subject);
    });
    let current: typeof policy = { ...policy, bySubject };
    const counting = createCertificateCallers(() => current);
    const connection = certificate('cn:worker');
    for (let request = 0; request < 3; request += 1) counting.identify(connection);
    expect(lookups).toHaveBeenCalledTimes(1);
    counting.identify(certificate('cn:worker'));
    expect(lookups).toHaveBeenCalledTimes(2);
    current = policyOf();
    expect(() => counting.identify(connection)).toThrow(refused);
  });

  it('without a policy may read and refresh tokens and read connections, of all tenants', () => {
    const accepted = createCertificateCallers(undefined);
    const caller = accepted.identify(certificate('uri:spiffe://a/\u202e\n'.padEnd(300, 'x')));
    expect([...caller.scopes]).toEqual(['tokens:read', 'tokens:refresh', 'connections:read']);
    expect(caller.tenants).toBeNull();
    expect(caller.name).toMatch(/^uri:spiffe:\/\/a\/\\u\{202e\}\\u\{a\}x+…$/);
    expect(() => accepted.identify(certificate())).toThrow(refused);
  });
});

it('without policy and certificates, whoever reaches the service may do everything', () => {
  const caller = createAnonymousCallers().identify(bearer('Bearer whatever'));
  expect([caller.name, caller.scopes.size, caller.tenants]).toEqual(['anonymous', 6, null]);
});
