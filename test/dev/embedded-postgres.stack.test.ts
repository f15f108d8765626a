import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../dev/embedded-postgres.ts';
import { findFreePort } from '../../dev/ports.ts';

let directory: string;
const running: EmbeddedPostgres[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'embedded-postgres-'));
});

afterEach(async () => {
  for (const postgres of running.splice(0)) await postgres.stop();
  rmSync(directory, { recursive: true });
});

async function startOn(port: number, fsync = false): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({
    dataDirectory: join(directory, 'postgres'),
    port,
    portSetting: 'another number',
    fsync,
  });
  running.push(postgres);
  return postgres;
}

async function query(postgres: EmbeddedPostgres, statement: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: postgres.url('postgres') });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

test('the data survives a restart, and its password is for the owner only', async () => {
  const first = await startOn(await findFreePort());
  await query(first, 'create table kept as select 7 as n');
  expect(statSync(join(directory, 'postgres.password')).mode & 0o777).toBe(0o600);
  await first.stop();
  const second = await startOn(await findFreePort());
  expect(await query(second, 'select n from kept')).toEqual([{ n: 7 }]);
});

test('a server left by a killed run is ended by the next start on the same port', async () => {
  const port = await findFreePort();
  const left = await startOn(port);
  await query(left, 'create table kept as select 7 as n');
  const next = await startOn(port);
  expect(await left.ended).toContain('PostgreSQL has ended');
  expect(await query(next, 'select n from kept')).toEqual([{ n: 7 }]);
});

test('a server that was itself killed starts again', async () => {
  const left = await startOn(await findFreePort());
  process.kill(left.pid, 'SIGKILL');
  await left.ended;
  const next = await startOn(await findFreePort());
  expect(await query(next, 'select 1 as one')).toEqual([{ one: 1 }]);
});

test('it runs in a checkout that only its owner may enter', async () => {
  // As root PostgreSQL runs as another user, who could not pass this directory by himself.
  chmodSync(directory, 0o700);
  const postgres = await startOn(await findFreePort(), true);
  expect(await query(postgres, 'show fsync')).toEqual([{ fsync: 'on' }]);
});

test('it listens on loopback only and lets nobody in without the password', async () => {
  const postgres = await startOn(await findFreePort());
  expect(await query(postgres, 'show listen_addresses')).toEqual([
    { listen_addresses: '127.0.0.1' },
  ]);
  const wrong = new URL(postgres.url('postgres'));
  wrong.password = 'guessed';
  const client = new pg.Client({ connectionString: wrong.href });
  await expect(client.connect()).rejects.toThrow('password authentication failed');
});

test('a busy port is an error that says where to choose another', async () => {
  const port = await findFreePort();
  const occupant = createServer();
  await new Promise<void>((resolve) => occupant.listen(port, '127.0.0.1', resolve));
  try {
    await expect(startOn(port)).rejects.toThrow(
      new RegExp(`Port ${port}, which PostgreSQL needs, is in use.*another number`),
    );
  } finally {
    occupant.close();
  }
});
