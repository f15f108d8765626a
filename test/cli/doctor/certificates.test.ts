import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generate } from 'selfsigned';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  checkCertificates,
  judgeClients,
  judgeServer,
} from '../../../cli/doctor/check-certificates.ts';
import type { Finding } from '../../../cli/doctor/finding.ts';

const dayMs = 86_400_000;
const startsAt = new Date('2026-01-01T00:00:00Z');
const endsAt = new Date('2027-01-01T00:00:00Z');
const file = { setting: 'TLS_CERT_FILE', path: '/tls.crt' };
const inUse = startsAt.getTime() + 30 * dayMs;
const days = (left: number) => endsAt.getTime() - left * dayMs;

type Pair = Awaited<ReturnType<typeof generate>>;
let root: Pair;
let server: X509Certificate;
let client: X509Certificate;
let nameless: X509Certificate;
let authority: X509Certificate;
let other: X509Certificate;

async function authorityNamed(name: string): Promise<Pair> {
  return generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notBeforeDate: startsAt,
    notAfterDate: endsAt,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true },
    ],
  });
}

async function issue(purpose: 'serverAuth' | 'clientAuth', names: string[]) {
  const pair = await generate([{ name: 'commonName', value: `a ${purpose}` }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notBeforeDate: startsAt,
    notAfterDate: endsAt,
    ca: { key: root.private, cert: root.cert },
    extensions: [
      { name: 'basicConstraints', cA: false },
      { name: 'extKeyUsage', [purpose]: true },
      ...(names.length === 0
        ? []
        : ([
            { name: 'subjectAltName', altNames: names.map((value) => ({ type: 2, value })) },
          ] as const)),
    ],
  } as Parameters<typeof generate>[1]);
  return new X509Certificate(pair.cert);
}

beforeAll(async () => {
  root = await authorityNamed('Root of the tests');
  authority = new X509Certificate(root.cert);
  other = new X509Certificate((await authorityNamed('Another root')).cert);
  server = await issue('serverAuth', ['tokens.test']);
  client = await issue('clientAuth', ['caller.test']);
  nameless = await issue('serverAuth', []);
});

function expectRemedy(
  findings: Finding[],
  state: Finding['state'],
  message: RegExp,
  remedy: RegExp,
) {
  expect(findings.map((finding) => finding.state)).toEqual([state]);
  expect(findings[0]?.message).toMatch(message);
  expect(findings[0]?.remedy).toMatch(remedy);
}

describe("the server's certificate", () => {
  it('is in order while it is valid for servers and its chain is one', () => {
    for (const chain of [[server], [server, authority]]) {
      const [finding, ...more] = judgeServer(file, chain, inUse);
      expect([finding?.state, more]).toEqual(['ok', []]);
      expect(finding?.message).toContain('until 2027-01-01');
      expect(finding?.message).toContain('must trust CN=Root of the tests');
    }
  });

  it('is told 30 days before it expires, and when it has, or is not valid yet', () => {
    expect(judgeServer(file, [server], days(30.5))[0]?.state).toBe('ok');
    expectRemedy(judgeServer(file, [server], days(29.5)), 'warning', /in 29 days/, /renew/);
    expectRemedy(judgeServer(file, [server], days(-1)), 'fault', /expired on 2027-01-01/, /renew/);
    const early = startsAt.getTime() - dayMs;
    expectRemedy(judgeServer(file, [server], early), 'fault', /not valid before/, /clock/);
  });

  it('is told of an issuer in its file that expires too', () => {
    const findings = judgeServer(file, [server, authority], days(5));
    expect(findings.map(({ state }) => state)).toEqual(['warning', 'warning']);
    expect(findings[1]?.message).toContain('Root of the tests');
  });

  it('is a fault where it is for clients, has no names, or stands before somebody else', () => {
    expectRemedy(judgeServer(file, [client], inUse), 'fault', /not for servers/, /server auth/);
    expectRemedy(judgeServer(file, [nameless], inUse), 'fault', /no subject alternative/, /names/);
    expectRemedy(
      judgeServer(file, [server, other], inUse),
      'fault',
      /certificate 2 \(CN=Another root\) is not the issuer of 1/,
      /each issuer behind/,
    );
  });
});

describe('the bundle for clients', () => {
  it('counts authorities and pinned certificates', () => {
    expect(judgeClients(file, [authority, client], inUse)[0]?.message).toContain(
      'accepts clients of 1 authority and 1 pinned; the first expires on 2027-01-01',
    );
  });

  it('is told of what expires, and of a certificate that is not for clients', () => {
    expectRemedy(judgeClients(file, [authority], days(3)), 'warning', /in 3 days/, /renew/);
    expectRemedy(judgeClients(file, [authority], days(-3)), 'fault', /are refused/, /renew/);
    expectRemedy(judgeClients(file, [server], inUse), 'warning', /not for clients/, /take it out/);
  });
});

describe('checkCertificates', () => {
  const folder = mkdtempSync(join(tmpdir(), 'doctor-certificates-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return { setting: 'MTLS_CERT_FILE', path };
  };

  it('needs none without TLS, and reads the files of the mode', async () => {
    const now = () => inUse;
    expect((await checkCertificates({ mode: 'disabled' }, now))[0]?.state).toBe('ok');
    const certificate = write('server.pem', `${server.toString()}${authority.toString()}`);
    const clientBundle = write('bundle.pem', authority.toString());
    const files = { certificate, key: certificate, clientBundle };
    const findings = await checkCertificates({ mode: 'mtls', files }, now);
    expect(findings.map(({ state }) => state)).toEqual(['ok', 'ok']);
    const gone = { ...files, clientBundle: { ...clientBundle, path: join(folder, 'gone') } };
    const [, second] = await checkCertificates({ mode: 'mtls', files: gone }, now);
    expect(second).toMatchObject({ state: 'warning', remedy: 'see settings' });
  });
});
