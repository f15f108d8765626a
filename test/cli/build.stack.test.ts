import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../dev/embedded-postgres.ts';
import { findFreePort } from '../../dev/ports.ts';
import { createLocalKeyFile } from '../../vault/local-key-file.ts';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { callerOf } from '../support/service-cluster.ts';
import { startServiceProcess, type ServiceProcess } from '../support/service-process.ts';

const root = join(import.meta.dirname, '..', '..');
const buildLimitMs = 120_000;

const folder = mkdtempSync(join(tmpdir(), 'token-manager-build-'));
let postgres: EmbeddedPostgres;
let provider: DemoProviderServer;
let gateway: ServiceProcess;
let worker: ServiceProcess;

beforeAll(async () => {
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(folder, 0o755);
  provider = await startDemoProviderServer();
  postgres = await startEmbeddedPostgres({
    dataDirectory: join(folder, 'postgres'),
    port: await findFreePort(),
    portSetting: 'run the tests again',
    fsync: true,
  });
  const keyFile = join(folder, 'local.key');
  await createLocalKeyFile(keyFile);
  const env = {
    HOME: process.env['HOME'] ?? '',
    DATABASE_URL: postgres.url('postgres'),
    TEMPORAL_ADDRESS: inject('temporalAddress'),
    TEMPORAL_NAMESPACE: inject('temporalNamespace'),
    LOCAL_KEY_FILE: keyFile,
    EGRESS_ALLOW: '127.0.0.1',
  };
  // The first builds if dist/ is stale; two builds at once would be in each other's way.
  gateway = await startServiceProcess('gateway', env, { fromBuild: true });
  await gateway.waitUntil('ready', buildLimitMs);
  worker = await startServiceProcess('worker', env, { fromBuild: true });
  await worker.waitUntil('ready', buildLimitMs);
}, 2 * buildLimitMs);
afterAll(async () => {
  for (const service of [gateway, worker]) {
    if (!service.hasExited()) process.kill(-service.pid, 'SIGKILL');
  }
  await postgres.stop();
  provider.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('the build', () => {
  it('npm run gateway and npm run worker serve a refresh over a durable PostgreSQL', async () => {
    const appId = await provider.registerApp(callerOf(gateway));
    const [id = ''] = await provider.addConnections(callerOf(gateway), appId, 1);
    const { status, body } = await callerOf(gateway).call('GET', `/v1/connections/${id}/token`);
    expect(status, JSON.stringify(body)).toBe(200);
    expect(body).toMatchObject({ refreshed: true });
    const build = await callerOf(gateway).call('GET', '/build');
    expect(build.body).toMatchObject({ name: 'token-manager', node: process.version });
  });

  it('Ctrl-C, which npm hands on once more, drains; SIGTERM to npm does too', async () => {
    process.kill(-gateway.pid, 'SIGINT');
    expect((await gateway.exited).code).toBe(0);
    expect(gateway.output()).toContain('"ended"');
    expect((await worker.stop()).code).toBe(0);
    expect(worker.output()).toContain('"ended"');
  });

  it('token-manager is an executable of the package and names its commands', () => {
    const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      bin: Record<string, string>;
    };
    const file = join(root, bin['token-manager'] ?? '');
    expect(readFileSync(file, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    const help = execFileSync(process.execPath, [file, '--help'], { encoding: 'utf8' });
    for (const command of ['gateway', 'worker', 'all-in-one', 'migrate']) {
      expect(help).toMatch(new RegExp(`^  ${command} `, 'm'));
    }
    expect(help).toContain('DATABASE_URL');
  });
});
