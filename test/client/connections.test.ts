import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TokenManagerClient } from '../../client/token-manager-client.ts';
import { issueCertificates, type ServerCertificates } from '../support/certificates.ts';
import {
  createTurnableClock,
  startScriptedGateway,
  type ScriptedGateway,
} from './scripted-gateway.ts';

const folder = mkdtempSync(join(tmpdir(), 'token-manager-client-'));
const path = (name: string): string => join(folder, name);
const clock = createTurnableClock();
let server: ServerCertificates;
let first: ServerCertificates;
let second: ServerCertificates;
let gateway: ScriptedGateway;
let client: TokenManagerClient;
let reloads: (string | undefined)[];

function write({ cert, key }: Pick<ServerCertificates, 'cert' | 'key'>): void {
  writeFileSync(path('client.pem'), cert);
  writeFileSync(path('client.key'), key);
}

beforeAll(async () => {
  [server, first, second] = await Promise.all([
    issueCertificates(['127.0.0.1']),
    issueCertificates(['client-1']),
    issueCertificates(['client-2']),
  ]);
  gateway = await startScriptedGateway({
    cert: server.cert,
    key: server.key,
    ca: [first.authority, second.authority],
    requestCert: true,
    rejectUnauthorized: true,
  });
  writeFileSync(path('ca.pem'), server.authority);
});
beforeEach(() => {
  gateway.answer(() => ({ token: {} }));
  write(first);
  reloads = [];
  client = new TokenManagerClient(
    {
      baseUrl: gateway.origin,
      cacheSeconds: 0,
      deadlineMs: 2_000,
      tls: { caFile: path('ca.pem'), certFile: path('client.pem'), keyFile: path('client.key') },
      hooks: { onTlsReload: (error) => reloads.push(error?.message) },
    },
    { nowMs: clock.nowMs },
  );
});
afterEach(() => client.close());
afterAll(async () => {
  await gateway.close();
  rmSync(folder, { recursive: true });
});

describe('connections to the gateway', () => {
  it('are kept alive', async () => {
    const before = gateway.connections();
    for (let index = 0; index < 20; index += 1) await client.getToken('c1');
    expect(gateway.connections() - before).toBe(1);
  });

  it('show the certificate of the files, and a new one once the files have changed', async () => {
    const before = gateway.connections();
    await client.getToken('c1');
    write(second);
    await client.getToken('c1');
    expect(gateway.connections() - before).toBe(1);
    clock.turn(2_001);
    await client.getToken('c1');
    expect(gateway.connections() - before).toBe(2);
    expect(reloads).toEqual([undefined]);
    for (let index = 0; index < 5; index += 1) await client.getToken('c1');
    expect(gateway.connections() - before).toBe(2);
  });

  it('go on with the old files where the new ones do not belong together', async () => {
    await client.getToken('c1');
    writeFileSync(path('client.key'), second.key);
    clock.turn(2_001);
    await client.getToken('c1');
    expect(reloads).toHaveLength(1);
    expect(reloads[0]).toMatch(/^tls_files_unusable: .*client\.key/);
    write(second);
    clock.turn(2_001);
    await client.getToken('c1');
    expect(reloads[1]).toBeUndefined();
    expect(reloads).toHaveLength(2);
  });

  it('are not made with files that are not there, and are once they are', async () => {
    rmSync(path('client.key'));
    await expect(client.getToken('c1')).rejects.toMatchObject({
      code: 'tls_files_unusable',
      retryable: false,
    });
    write(first);
    expect((await client.getToken('c1')).tokenVersion).toBe(1);
  });

  it('are not made to a server that another authority vouches for', async () => {
    writeFileSync(path('ca.pem'), first.authority);
    try {
      await expect(client.getToken('c1')).rejects.toMatchObject({ code: 'gateway_unreachable' });
    } finally {
      writeFileSync(path('ca.pem'), server.authority);
    }
  });
});
