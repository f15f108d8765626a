import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import { loadConfig } from '../../platform/config.ts';
import type { Environment } from '../../platform/settings.ts';
import { issueCertificates } from '../support/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'tls-settings-'));
afterAll(() => rmSync(folder, { recursive: true }));

function fileWith(name: string, contents: string): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

const base: Environment = {
  DATABASE_URL: 'postgres://db/tokens',
  LOCAL_KEY_FILE: fileWith('local.key', 'not read here'),
};
const configFile = fileWith('temporal.config.json', '{}');
let certificate: string;
let key: string;
let otherKey: string;
let bundle: string;

beforeAll(async () => {
  const [server, other] = [
    await issueCertificates(['a.test']),
    await issueCertificates(['b.test']),
  ];
  certificate = fileWith('server.pem', server.cert);
  key = fileWith('server.key', server.key);
  otherKey = fileWith('other.key', other.key);
  bundle = fileWith('bundle.pem', `Comments are allowed.\n${server.authority}${other.authority}`);
});

function load(env: Environment) {
  return loadConfig({ env: { ...base, ...env }, configFile });
}

function faults(env: Environment): string[] {
  try {
    load(env);
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    return (error.errors ?? []).map((fault) =>
      'parameter' in fault ? `${fault.parameter} ${fault.detail}` : fault.detail,
    );
  }
  return [];
}

describe('TLS_MODE', () => {
  it('is disabled by default, and files that it does not use are warned about', () => {
    const { tls, warnings } = load({ TLS_CERT_FILE: '/no/such/file' });
    expect(tls).toEqual({ mode: 'disabled' });
    expect(warnings).toEqual(['TLS_CERT_FILE is set and has no effect, for TLS_MODE is disabled']);
  });

  it('enabled names a pair, and the service stays on loopback', () => {
    const env = { TLS_MODE: 'enabled', TLS_CERT_FILE: certificate, TLS_KEY_FILE: key };
    expect(load(env)).toMatchObject({
      tls: {
        mode: 'enabled',
        files: {
          certificate: { setting: 'TLS_CERT_FILE', path: certificate },
          key: { setting: 'TLS_KEY_FILE', path: key },
        },
      },
      http: { host: '127.0.0.1' },
    });
    expect(faults({ ...env, HOST: '0.0.0.0' }).join()).toMatch(/^HOST is "0.0.0.0"/);
  });

  it('mtls names a pair and a bundle, and listens on every address', () => {
    const env = {
      TLS_MODE: 'mtls',
      MTLS_CERT_FILE: certificate,
      MTLS_KEY_FILE: key,
      MTLS_CLIENT_CERT_FILE: bundle,
    };
    expect(load(env)).toMatchObject({
      tls: {
        mode: 'mtls',
        files: { clientBundle: { setting: 'MTLS_CLIENT_CERT_FILE', path: bundle } },
      },
      http: { host: '0.0.0.0' },
    });
    expect(load({ ...env, HOST: '10.1.2.3' }).http.host).toBe('10.1.2.3');
    expect(load({ ...env, TLS_KEY_FILE: key }).warnings).toEqual([
      'TLS_KEY_FILE is set and has no effect, for TLS_MODE is mtls',
    ]);
  });

  it('names every file that is missing', () => {
    expect(faults({ TLS_MODE: 'enabled' })).toEqual([
      'TLS_CERT_FILE is not set, and TLS_MODE is enabled; name a file in PEM',
      'TLS_KEY_FILE is not set, and TLS_MODE is enabled; name a file in PEM',
    ]);
    expect(faults({ TLS_MODE: 'mtls', MTLS_KEY_FILE: key })).toEqual([
      'MTLS_CERT_FILE is not set, and TLS_MODE is mtls; name a file in PEM',
      'MTLS_CLIENT_CERT_FILE is not set, and TLS_MODE is mtls; name a file in PEM',
    ]);
  });

  it('names every file at fault, what is wrong with it and what to do, and quotes none', () => {
    const env = {
      TLS_MODE: 'mtls',
      MTLS_CERT_FILE: '/no/such/file',
      MTLS_KEY_FILE: fileWith('planted', 'planted-key'),
      MTLS_CLIENT_CERT_FILE: key,
    };
    expect(faults(env)).toEqual([
      'MTLS_CERT_FILE names the file /no/such/file, which cannot be read (ENOENT); name a readable file',
      `MTLS_KEY_FILE names the file ${env.MTLS_KEY_FILE}, which holds no private key; ` +
        'name a file with a private key in PEM',
      `MTLS_CLIENT_CERT_FILE names the file ${key}, which holds no certificate; ` +
        'name a file of certificates in PEM',
    ]);
  });

  it.each([
    ['which is not the key of the first certificate', () => otherKey],
    [
      'whose key is encrypted',
      () => fileWith('encrypted', '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n'),
    ],
  ])('refuses a key file %s', (what, path) => {
    const found = faults({
      TLS_MODE: 'enabled',
      TLS_CERT_FILE: certificate,
      TLS_KEY_FILE: path(),
    });
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(what);
    expect(found[0]).toMatch(/^TLS_KEY_FILE /);
  });

  it('refuses a certificate that cannot be read', () => {
    const broken = fileWith(
      'broken',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
    );
    expect(faults({ TLS_MODE: 'enabled', TLS_CERT_FILE: broken, TLS_KEY_FILE: key })).toEqual([
      `TLS_CERT_FILE names the file ${broken}, which holds a certificate that cannot be read; ` +
        'name a file of certificates in PEM',
    ]);
  });
});
