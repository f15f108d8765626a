import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import type { ServiceProcess } from '../support/service-process.ts';

const entry = join(import.meta.dirname, '..', 'support', 'run-token-manager.ts');
const folder = mkdtempSync(join(tmpdir(), 'token-manager-callers-'));
const file = join(folder, 'callers.json');
const reloadMs = { timeout: 15_000, interval: 100 };

let cluster: ServiceCluster;
let service: ServiceProcess;
beforeAll(async () => {
  cluster = await createServiceCluster();
}, 60_000);
afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true });
});

/** `token-manager callers …` as a process; its standard output without the line end. */
async function callers(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', entry, 'callers', ...args],
    { env: { PATH: process.env['PATH'] ?? '', CALLERS_FILE: file } },
  );
  return stdout.trimEnd();
}

async function ask(key: string | undefined, method: string, path: string, body?: unknown) {
  const response = await fetch(`${service.origin}${path}`, {
    method,
    headers: {
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const json = (await response.json()) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, json };
}

it('a key that was made by the command lets a caller do what it was made for, and no more', async () => {
  const scopes = 'tokens:read,connections:read,connections:write,apps:write';
  const operator = await callers('add', 'operator', '--scopes', scopes, '--tenants', '*');
  expect(operator).toMatch(/^tmk_[\w-]{43}$/);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  service = await cluster.start('gateway', { CALLERS_FILE: file, HOST: '127.0.0.1' });
  await service.waitUntil('ready');

  const anonymous = await ask(undefined, 'GET', '/v1/connections');
  expect([anonymous.status, anonymous.json['code']]).toEqual([401, 'unauthenticated']);
  expect(anonymous.headers.get('www-authenticate')).toBe('Bearer realm="token-manager"');
  const app = {
    provider: 'generic',
    client_id: 'c',
    overrides: { token_url: 'https://idp.test/' },
  };
  expect((await ask(operator, 'PUT', '/v1/apps/a1', app)).status).toBe(201);
  for (const tenant of ['acme', 'globex']) {
    const input = { tenant_id: tenant, app_id: 'a1', access_token: `token-of-${tenant}` };
    const put = await ask(operator, 'PUT', `/v1/connections/${tenant}`, input);
    expect(put.status).toBe(201);
  }

  const first = await callers('add', 'sync', '--scopes', 'tokens:read', '--tenants', 'acme');
  await vi.waitFor(async () => {
    const read = await ask(first, 'GET', '/v1/connections/acme/token');
    expect([read.status, read.json['access_token']]).toEqual([200, 'token-of-acme']);
  }, reloadMs);
  expect((await ask(first, 'GET', '/v1/connections/globex/token')).status).toBe(404);
  expect((await ask(first, 'GET', '/v1/connections')).status).toBe(403);
  expect((await ask(`${first}x`, 'GET', '/v1/connections/acme/token')).status).toBe(401);

  // A key is replaced: both hold for a while, then the first goes.
  const second = await callers('add', 'sync');
  await vi.waitFor(async () => {
    expect((await ask(second, 'GET', '/v1/connections/acme/token')).status).toBe(200);
  }, reloadMs);
  expect((await ask(first, 'GET', '/v1/connections/acme/token')).status).toBe(200);
  const hashes = (await callers('list')).match(/sha256:[0-9a-f]+/g) ?? [];
  expect(hashes).toHaveLength(3);
  await callers('remove', 'sync', '--key', hashes[1] ?? '');
  await vi.waitFor(async () => {
    expect((await ask(first, 'GET', '/v1/connections/acme/token')).status).toBe(401);
  }, reloadMs);
  expect((await ask(second, 'GET', '/v1/connections/acme/token')).status).toBe(200);
  await callers('remove', 'sync');
  await vi.waitFor(async () => {
    expect((await ask(second, 'GET', '/v1/connections/acme/token')).status).toBe(401);
  }, reloadMs);
  expect((await ask(operator, 'GET', '/v1/connections/acme/token')).status).toBe(200);

  for (const key of [operator, first, second]) {
    expect(service.output()).not.toContain(key);
    expect(readFileSync(file, 'utf8')).not.toContain(key);
  }
}, 90_000);
