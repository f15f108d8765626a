import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { startEmbeddedPostgres } from '../../dev/embedded-postgres.ts';
import { findFreePort } from '../../dev/ports.ts';
import { createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import { startServiceProcess, type ServiceProcess } from '../support/service-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'token-manager-start-'));
let cluster: ServiceCluster;

beforeAll(async () => {
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(folder, 0o755);
  cluster = await createServiceCluster();
});
afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
});

async function refusalOf(service: ServiceProcess): Promise<string> {
  expect(await service.exited).toEqual({ code: 1, signal: null });
  return service.output();
}

async function createEmptyDatabase(name: string): Promise<string> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  await client.query(`create database ${name}`);
  await client.end();
  return inject('postgresUrl').replace(/[^/]*$/, name);
}

describe('a process that cannot start says in a sentence what to do, and exits with 1', () => {
  it('all faults of the configuration at once', async () => {
    const output = await refusalOf(await startServiceProcess('gateway', { PORT: '70000' }));
    for (const setting of ['PORT', 'DATABASE_URL', 'LOCAL_KEY_FILE']) {
      expect(output).toContain(`- ${setting} is`);
    }
    expect(output).not.toContain('    at ');
  });

  it('a busy port', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const gateway = await cluster.start('gateway', { PORT: String(port) });
    expect(await refusalOf(gateway)).toMatch(new RegExp(`Port ${port} on .* is in use: .* PORT`));
    const worker = await cluster.start('worker', { METRICS_PORT: String(port) });
    expect(await refusalOf(worker)).toMatch(/is in use: .* METRICS_PORT/);
    server.close();
  });

  it('a key file that holds something else', async () => {
    const keyFile = join(folder, 'wrong.key');
    writeFileSync(keyFile, 'not a key');
    const output = await refusalOf(await cluster.start('worker', { LOCAL_KEY_FILE: keyFile }));
    expect(output).toMatch(/wrong\.key must hold 32 bytes in base64/);
    expect(output).not.toContain('    at ');
  });

  it('a database that is not there', async () => {
    const DATABASE_URL = inject('postgresUrl').replace(/[^/]*$/, 'no_such_database');
    const output = await refusalOf(await cluster.start('worker', { DATABASE_URL }));
    expect(output).toMatch(/cannot be used: database "no_such_database" does not exist/);
  });

  it('a wrong password, which is not shown', async () => {
    const url = new URL(inject('postgresUrl'));
    url.password = 'canary-password';
    const output = await refusalOf(await cluster.start('worker', { DATABASE_URL: url.href }));
    expect(output).toMatch(/cannot be used: password authentication failed/);
    expect(output).not.toContain('canary-password');
  });

  it.each(['gateway', 'worker', 'all-in-one'] as const)(
    'a PostgreSQL that a crash could make forget commits, for the %s',
    async (command) => {
      const service = await cluster.start(command, { TEST_DURABLE_ONLY: 'true' });
      expect(await refusalOf(service)).toMatch(/has fsync.* off: a crash would forget/);
    },
  );

  it('a schema that is missing while MIGRATE_ON_START=false, until migrate has run', async () => {
    const DATABASE_URL = await createEmptyDatabase('without_schema');
    const gateway = await cluster.start('gateway', { DATABASE_URL, MIGRATE_ON_START: 'false' });
    expect(await refusalOf(gateway)).toMatch(/lacks 0001_tables.*run `token-manager migrate`/);

    // A job that migrates is given the database and nothing else.
    const migration = await startServiceProcess('migrate', { DATABASE_URL });
    expect(await migration.exited).toEqual({ code: 0, signal: null });
    expect(migration.output()).toContain('Migrated: 0001_tables');
    const again = await startServiceProcess('migrate', { DATABASE_URL });
    expect(await again.exited).toEqual({ code: 0, signal: null });
    expect(again.output()).toContain('The schema is up to date.');

    const next = await cluster.start('gateway', { DATABASE_URL, MIGRATE_ON_START: 'false' });
    await next.waitUntil('ready');
    expect(await next.stop()).toEqual({ code: 0, signal: null });
  }, 60_000);

  it('migrate with PostgreSQL away', async () => {
    const DATABASE_URL = `postgres://app:canary-password@127.0.0.1:${await findFreePort()}/tokens`;
    const output = await refusalOf(await startServiceProcess('migrate', { DATABASE_URL }));
    expect(output).toMatch(/PostgreSQL at 127.0.0.1:\d+\/tokens cannot be used: .*ECONNREFUSED/);
    expect(output).not.toContain('canary-password');
  });
});

describe('PostgreSQL away at the start', () => {
  it('gateway and worker wait for it, say so, are not ready, and serve once it is there', async () => {
    const options = {
      dataDirectory: join(folder, 'postgres'),
      port: await findFreePort(),
      portSetting: 'run the tests again',
      fsync: false,
    };
    const before = await startEmbeddedPostgres(options);
    await before.stop();
    const env = { DATABASE_URL: before.url('postgres') };
    const gateway = await cluster.start('gateway', env);
    const worker = await cluster.start('worker', env);
    for (const service of [gateway, worker]) {
      await service.waitForOutput(/waiting for PostgreSQL at 127\.0\.0\.1:\d+\/postgres/);
      await service.waitUntil('not_ready');
    }
    expect((await fetch(`${gateway.origin}/ready`)).status).toBe(503);
    const refused = await fetch(`${gateway.origin}/v1/connections/c/token`);
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ code: 'store_unavailable' });

    const postgres = await startEmbeddedPostgres(options);
    try {
      await Promise.all([gateway.waitUntil('ready'), worker.waitUntil('ready')]);
      expect((await fetch(`${gateway.origin}/v1/connections/c/token`)).status).toBe(404);
      expect(await gateway.stop()).toEqual({ code: 0, signal: null });
      expect(await worker.stop()).toEqual({ code: 0, signal: null });
    } finally {
      await postgres.stop();
    }
  }, 60_000);

  it('SIGTERM ends a process that waits', async () => {
    const env = { DATABASE_URL: `postgres://app@127.0.0.1:${await findFreePort()}/tokens` };
    for (const command of ['gateway', 'worker', 'all-in-one'] as const) {
      const service = await cluster.start(command, env);
      await service.waitForOutput(/waiting for PostgreSQL/);
      expect(await service.stop()).toEqual({ code: 0, signal: null });
    }
  }, 60_000);
});
