import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { loadCallers } from '../../cli/load-callers.ts';
import { systemClock } from '../../platform/clock.ts';
import { createTlsSource } from '../../platform/tls-source.ts';
import { issueCertificates, type ServerCertificates } from '../support/certificates.ts';
import { auditLines, policyCaller } from './caller-fixtures.ts';
import { createComposer } from './compose-for-test.ts';
import { connectionRow, createFakeGateway } from './gateway-fakes.ts';

/* Mutual TLS and CALLERS_FILE, through sockets: who is let in, and what for. */

const reloadMs = { timeout: 15_000, interval: 50 };
const folder = mkdtempSync(join(tmpdir(), 'certificate-callers-'));
const compose = createComposer();
const closing: (() => void)[] = [];
let server: ServerCertificates;
/** In the bundle and the policy, in the bundle only, in the policy only. */
let billing: ServerCertificates;
let unnamed: ServerCertificates;
let stranger: ServerCertificates;

beforeAll(async () => {
  [server, billing, unnamed, stranger] = await Promise.all([
    issueCertificates(['127.0.0.1']),
    issueCertificates(['Billing.test', 'other.test']),
    issueCertificates(['unnamed.test']),
    issueCertificates(['billing.test']),
  ]);
});
afterEach(() => {
  for (const close of closing.splice(0)) close();
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const policy = (...callers: Parameters<typeof policyCaller>[0][]) =>
  JSON.stringify({ callers: callers.map((each) => policyCaller({ key_hashes: [], ...each })) });

async function serve(callersFile?: string) {
  const fakes = createFakeGateway();
  const { log } = fakes.dependencies;
  const tls = createTlsSource({
    files: {
      certificate: { setting: 'MTLS_CERT_FILE', path: write('server.pem', server.cert) },
      key: { setting: 'MTLS_KEY_FILE', path: write('server.key', server.key) },
      clientBundle: {
        setting: 'MTLS_CLIENT_CERT_FILE',
        path: write('bundle.pem', `${billing.authority}${unnamed.cert}`),
      },
    },
    readFile: (path) => readFileSync(path, 'utf8'),
    clock: systemClock,
    log,
  });
  const { callers, watch } = loadCallers({ file: callersFile, byCertificate: true }, log);
  closing.push(
    () => tls.close(),
    () => watch?.close(),
  );
  const row = connectionRow({ tenantId: 'acme' });
  const { gateway, lines } = await compose({ tls, callers, row });
  const ask = (path: string, who: ServerCertificates, more: { agent?: Agent; key?: string } = {}) =>
    new Promise<{ status: number; challenge: string | undefined; text: string }>((done, fail) => {
      const { agent = false, key } = more;
      const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
      const { cert } = who;
      const options = { ca: server.authority, cert, key: who.key, agent, headers };
      request(`${gateway.url}${path}`, options, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const challenge = response.headers['www-authenticate'];
          const text = Buffer.concat(chunks).toString('utf8');
          done({ status: response.statusCode ?? 0, challenge, text });
        });
      })
        .on('error', fail)
        .end();
    });
  return { ask, lines };
}

const token = '/v1/connections/c1/token';

describe('a client certificate and a policy', () => {
  it('let in whoever is in both, for what the policy says', async () => {
    const match = ['dns:billing.test'];
    const file = write('both.json', policy({ match, tenants: ['acme'] }));
    const { ask, lines } = await serve(file);
    expect((await ask(token, billing)).status).toBe(200);
    expect((await ask('/v1/connections', billing)).status).toBe(403);
    await expect(ask(token, stranger)).rejects.toThrow();
    const refused = await ask(token, unnamed);
    expect(refused).toMatchObject({
      status: 401,
      challenge: 'ClientCertificate realm="token-manager"',
    });
    expect((await ask(token, billing, { key: 'billing-key' })).status).toBe(401);
    expect((await ask('/ping', unnamed)).status).toBe(200);
    expect(auditLines(lines).map(({ caller, outcome }) => [caller, outcome])).toEqual([
      ['billing', 'done'],
      ['billing', 'forbidden'],
      [undefined, 'unauthenticated'],
      [undefined, 'unauthenticated'],
    ]);
    expect(auditLines(lines)[2]).toMatchObject({ subjects: ['dns:unnamed.test'] });
  });

  it('hide a tenant that the policy does not name, and open it on an open connection once it does', async () => {
    const match = ['dns:other.test'];
    const file = write('reloaded.json', policy({ match, tenants: ['globex'] }));
    const { ask } = await serve(file);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const [foreign, unknown] = [
      await ask(token, billing, { agent }),
      await ask('/v1/connections/c9/token', billing, { agent }),
    ];
    const withoutIds = (text: string) =>
      text.replaceAll(/"(?:request_id|connection_id)":"[^"]*"/g, '');
    expect([foreign.status, withoutIds(foreign.text)]).toEqual([404, withoutIds(unknown.text)]);
    write('reloaded.json', policy({ match, tenants: ['acme'] }));
    await vi.waitFor(async () => {
      expect((await ask(token, billing, { agent })).status).toBe(200);
    }, reloadMs);
    write('reloaded.json', policy());
    await vi.waitFor(async () => {
      expect((await ask(token, billing, { agent })).status).toBe(401);
    }, reloadMs);
    agent.destroy();
  });

  it('without a policy every accepted certificate reads tokens and connections', async () => {
    const { ask } = await serve();
    for (const who of [billing, unnamed]) {
      expect((await ask(token, who)).status).toBe(200);
      expect((await ask('/v1/connections/c1', who)).status).toBe(200);
    }
    await expect(ask(token, stranger)).rejects.toThrow();
  });
});
