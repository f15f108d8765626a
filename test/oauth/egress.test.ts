import { describe, expect, it } from 'vitest';
import { createEgressGuard, isGloballyRoutable, parseEgressAllow } from '../../oauth/egress.ts';

describe('isGloballyRoutable', () => {
  it.each([
    '8.8.8.8',
    '93.184.215.14',
    '2606:4700::1111',
    '::ffff:8.8.8.8',
    '64:ff9b::808:808',
    '2002:808:808::1',
  ])('%s is', (address) => {
    expect(isGloballyRoutable(address)).toBe(true);
  });

  it.each([
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '127.0.0.1',
    '127.255.255.254',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.1',
    '192.0.2.1',
    '192.168.1.1',
    '198.18.0.1',
    '203.0.113.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    '::ffff:10.0.0.1',
    '::ffff:169.254.169.254',
    '::ffff:7f00:1',
    '::ffff:0:127.0.0.1',
    '64:ff9b::10.0.0.1',
    '64:ff9b:1::8.8.8.8',
    '100::1',
    '2002:7f00:1::1',
    '2002:a9fe:a9fe::',
    '2001:0:0808:0808::5601:5601',
    '2001:db8::1',
    '3fff::1',
    '4000::1',
    '5f00::1',
    'fc00::1',
    'fd12:3456::1',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    'ff02::1',
    'not an address',
    '',
  ])('%s is not', (address) => {
    expect(isGloballyRoutable(address)).toBe(false);
  });
});

describe('the egress guard', () => {
  const admit = (url: string, options: { allow?: string; addresses?: string[] } = {}) =>
    createEgressGuard({
      allow: parseEgressAllow(options.allow ?? ''),
      lookup: () => Promise.resolve(options.addresses ?? ['8.8.8.8']),
    }).admit(new URL(url));

  it('admits https to global addresses on port 443, and says which', async () => {
    expect(
      await admit('https://AS.example.com./token', { addresses: ['8.8.8.8', '8.8.4.4'] }),
    ).toEqual({
      kind: 'admitted',
      hostname: 'as.example.com',
      port: 443,
      secure: true,
      addresses: ['8.8.8.8', '8.8.4.4'],
    });
  });

  it.each([
    ['plain http', 'http://as.example.com/'],
    ['another port', 'https://as.example.com:8443/'],
    ['user information', 'https://user@as.example.com/'],
    ['another scheme', 'ftp://as.example.com/'],
    ['an address that is private', 'https://10.0.0.1/'],
    ['a number that is loopback', 'https://2130706433/'],
    ['an octal that is loopback', 'https://0177.0.0.1/'],
    ['a hexadecimal that is loopback', 'https://0x7f.1/'],
    ['IPv6 loopback', 'https://[::1]/'],
    ['mapped loopback', 'https://[::ffff:127.0.0.1]/'],
    ['the metadata address', 'https://169.254.169.254/'],
  ])('refuses %s', async (_name, url) => {
    expect(await admit(url)).toEqual({ kind: 'refused' });
  });

  it('asks no name server about what it refuses anyway', async () => {
    let lookups = 0;
    const guard = createEgressGuard({
      allow: [],
      lookup: () => {
        lookups += 1;
        return Promise.resolve(['8.8.8.8']);
      },
    });
    await guard.admit(new URL('http://as.example.com/'));
    await guard.admit(new URL('https://10.0.0.1/'));
    expect(lookups).toBe(0);
  });

  it('refuses a name one of whose addresses is not global', async () => {
    expect(await admit('https://a.example.com/', { addresses: ['8.8.8.8', '::1'] })).toEqual({
      kind: 'refused',
    });
  });

  it('tells a name that does not resolve from one that is refused', async () => {
    expect(await admit('https://a.example.com/', { addresses: [] })).toEqual({
      kind: 'unresolved',
      code: 'ENOTFOUND',
    });
  });

  it.each<[string, string, string[], boolean]>([
    ['auth.internal', 'http://auth.internal:8080/', ['10.0.0.1'], true],
    ['Auth.Internal', 'https://auth.internal/', ['10.0.0.1'], true],
    ['auth.internal', 'https://other.internal/', ['10.0.0.1'], false],
    ['auth.internal:8080', 'http://auth.internal:8080/', ['10.0.0.1'], true],
    ['auth.internal:8080', 'http://auth.internal:8081/', ['10.0.0.1'], false],
    ['127.0.0.1', 'http://127.0.0.1:9000/', [], true],
    ['127.0.0.1', 'http://localhost:9000/', ['127.0.0.1'], false],
    ['127.0.0.1', 'http://[::ffff:127.0.0.1]:9000/', [], false],
    ['127.0.0.1:9000', 'http://127.0.0.1:9001/', [], false],
    ['127.0.0.0/8', 'http://localhost:9000/', ['127.0.0.1'], true],
    ['127.0.0.0/8', 'http://localhost:9000/', ['127.0.0.1', '10.0.0.1'], false],
    ['127.0.0.0/8', 'http://public.example.com/', ['8.8.8.8'], false],
    ['10.0.0.0/8', 'https://a.internal/', ['::ffff:10.0.0.1'], true],
    ['10.0.0.0/8', 'https://mixed.example.com/', ['10.0.0.1', '8.8.8.8'], true],
    ['fd00::/8', 'https://[fd00::1]/', [], true],
    ['[::1]:9000', 'http://[::1]:9000/', [], true],
    ['::1', 'http://[0:0::1]/', [], true],
    ['a.com, b.com  c.com', 'http://c.com/', ['8.8.8.8'], true],
  ])('with EGRESS_ALLOW=%s, %s at %j: admitted %s', async (allow, url, addresses, isAdmitted) => {
    const admission = await admit(url, { allow, addresses });
    expect(admission.kind).toBe(isAdmitted ? 'admitted' : 'refused');
  });

  it.each(['http://a.com', '10.0.0.0/33', 'a.com:0', 'a.com:99999', 'a b@c', '[::1', 'x/y'])(
    'refuses an EGRESS_ALLOW of %s',
    (text) => {
      expect(() => parseEgressAllow(text)).toThrow('EGRESS_ALLOW');
    },
  );
});
