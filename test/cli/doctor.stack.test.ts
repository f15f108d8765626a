import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../cli/doctor/finding.ts';
import { startEmbeddedPostgres } from '../../dev/embedded-postgres.ts';
import { findFreePort } from '../../dev/ports.ts';
import { createLocalKeyFile } from '../../vault/local-key-file.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import { startServiceProcess, type ServiceProcess } from '../support/service-process.ts';

const entry = join(import.meta.dirname, '..', 'support', 'run-token-manager.ts');
const root = join(import.meta.dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'token-manager-doctor-'));

let cluster: ServiceCluster;
let postgres: Awaited<ReturnType<typeof startEmbeddedPostgres>>;
let service: ServiceProcess;
let provider: Server;
/** Over a PostgreSQL that keeps its commits. */
let good: Record<string, string>;

beforeAll(async () => {
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(folder, 0o755);
  cluster = await createServiceCluster();
  postgres = await startEmbeddedPostgres({
    dataDirectory: join(folder, 'postgres'),
    port: await findFreePort(),
    portSetting: 'run the tests again',
    fsync: true,
  });
  good = { ...cluster.env, DATABASE_URL: postgres.url('postgres') };
  provider = createServer().listen(0, '127.0.0.1');
  await once(provider, 'listening');
  service = await startServiceProcess('all-in-one', good);
  await service.waitUntil('ready');
  const { port } = provider.address() as AddressInfo;
  await addApp('reachable', `http://127.0.0.1:${port}/token`);
}, 120_000);

afterAll(async () => {
  await service.stop();
  provider.close();
  await postgres.stop();
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
});

async function addApp(id: string, tokenUrl: string): Promise<void> {
  const answer = await callerOf(service).call('PUT', `/v1/apps/${id}`, {
    provider: 'generic',
    client_id: 'client',
    client_secrets: ['secret-canary'],
    overrides: { token_url: tokenUrl },
  });
  expect(answer.status).toBe(201);
}

async function doctor(env: Record<string, string>, ...options: string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', entry, 'doctor', ...options], {
    cwd: root,
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(child, 'close');
  const text = Buffer.concat(chunks).toString('utf8');
  expect(text).not.toMatch(/canary|password=/);
  return { code: child.exitCode, text };
}

async function findingsOf(env: Record<string, string>) {
  const { code, text } = await doctor(env, '--json');
  const { status, findings } = JSON.parse(text) as { status: string; findings: Finding[] };
  const of = (check: string, state: string) =>
    findings.filter((finding) => finding.check === check && finding.state === state);
  const faulty = [...new Set(findings.filter((f) => f.state === 'fault').map((f) => f.check))];
  return { code, status, findings, of, faulty };
}

describe('token-manager doctor', () => {
  it('finds no fault in a set-up that works, and exits with 0', async () => {
    const { code, text } = await doctor(good);
    expect(code, text).toBe(0);
    for (const line of [
      /^ok +settings +all settings can be used/m,
      /^ok +database +PostgreSQL 18\.\d+ at 127\.0\.0\.1:\d+\/postgres answers/m,
      /^ok +database +commits are kept: fsync on, synchronous_commit on/m,
      /^ok +database +the schema is up to date/m,
      /^ok +listen +.* hears/m,
      /^ok +keys +.*right size/m,
      /^ok +keys +all \d data keys that are stored open/m,
      /^ok +providers +http:\/\/127\.0\.0\.1:\d+ \(app reachable\) can be reached/m,
      /^ok +temporal +Temporal 1\.\d+\.\d+ at/m,
      /^ok +namespace +default exists/m,
      /^ok +attributes +all 5 search attributes/m,
      /^ok +task queue +.* was polled by 1 workers/m,
      /^ok +certificates +none is needed/m,
      /^ok +files +the permissions of 1 file are in order/m,
      /^0 faults, \d warnings?, \d+ ok$/m,
    ]) {
      expect(text).toMatch(line);
    }
  }, 60_000);

  it('without a database tells so, and checks all the rest', async () => {
    const port = await findFreePort();
    const { code, of, faulty } = await findingsOf({
      ...good,
      DATABASE_URL: `postgres://app:secret-canary@127.0.0.1:${port}/tokens`,
    });
    expect([code, faulty]).toEqual([1, ['database']]);
    const [away] = of('database', 'fault');
    expect(away?.message).toContain(`127.0.0.1:${port}/tokens cannot be reached`);
    expect(away?.remedy).toContain('start it');
    expect(of('namespace', 'ok')).toHaveLength(1);
    expect(of('keys', 'ok')).toHaveLength(1);
    for (const check of ['listen', 'keys', 'providers']) {
      expect(of(check, 'warning')[0]?.message, check).toContain('not checked');
    }
  }, 60_000);

  it('refuses a database that may forget commits', async () => {
    const { code, of, faulty } = await findingsOf(cluster.env);
    expect([code, faulty]).toEqual([1, ['database']]);
    expect(of('database', 'fault')[0]?.message).toMatch(/^fsync and synchronous_commit are off/);
  }, 60_000);

  it('names a namespace that is not there, and the command that makes it', async () => {
    const { code, of, faulty } = await findingsOf({ ...good, TEMPORAL_NAMESPACE: 'nowhere' });
    expect([code, faulty]).toEqual([1, ['namespace']]);
    const [missing] = of('namespace', 'fault');
    expect(missing?.message).toContain('there is no namespace nowhere');
    expect(missing?.remedy).toContain('namespace create --retention 168h nowhere');
  }, 60_000);

  it('tells a wrong key file from the right one', async () => {
    const otherKey = join(folder, 'other.key');
    await createLocalKeyFile(otherKey);
    const { code, of, faulty } = await findingsOf({ ...good, LOCAL_KEY_FILE: otherKey });
    expect([code, faulty]).toEqual([1, ['keys']]);
    expect(of('keys', 'fault')[0]?.message).toMatch(/^\d of \d data keys do not open/);
    expect(of('keys', 'fault')[0]?.remedy).toContain('do not make a new one');
  }, 60_000);

  it('with Temporal away, a key that others write and settings at fault tells all at once', async () => {
    const openKey = join(folder, 'open.key');
    await createLocalKeyFile(openKey);
    chmodSync(openKey, 0o666);
    const { code, of, faulty, findings } = await findingsOf({
      ...good,
      PORT: 'http',
      DATABASE_URL: 'nowhere',
      LOCAL_KEY_FILE: openKey,
      TEMPORAL_ADDRESS: `127.0.0.1:${await findFreePort()}`,
    });
    expect([code, faulty]).toEqual([1, ['settings', 'temporal', 'files']]);
    expect(of('settings', 'fault').map(({ message }) => message.split(' ')[0])).toEqual([
      'PORT',
      'DATABASE_URL',
    ]);
    expect(of('database', 'warning')[0]?.message).toContain('its settings are at fault');
    expect(findings.every(({ state, remedy }) => state === 'ok' || remedy !== undefined)).toBe(
      true,
    );
  }, 60_000);

  it('finds a token host that nobody answers at, and one that egress refuses', async () => {
    await addApp('away', `http://127.0.0.1:${await findFreePort()}/token`);
    await addApp('inside', 'http://10.255.255.1/token');
    const { code, of, faulty } = await findingsOf(good);
    expect([code, faulty]).toEqual([1, ['providers']]);
    const faults = of('providers', 'fault').map(({ message }) => message);
    expect(faults.find((text) => text.includes('(app away)'))).toContain('cannot be reached');
    expect(faults.find((text) => text.includes('(app inside)'))).toContain('may not be called');
    expect(of('providers', 'ok')).toHaveLength(1);
  }, 60_000);
});
