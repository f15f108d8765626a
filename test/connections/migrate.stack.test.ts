import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { migrate } from '../../connections/migrate.ts';

const migrations = readdirSync(new URL('../../connections/migrations/', import.meta.url))
  .map((file) => basename(file, '.sql'))
  .sort();
const migrateModule = fileURLToPath(new URL('../../connections/migrate.ts', import.meta.url));

let server: pg.Client;
const made: string[] = [];
beforeAll(async () => {
  server = new pg.Client({ connectionString: inject('postgresUrl') });
  await server.connect();
});
afterAll(async () => {
  for (const name of made) await server.query(`drop database ${name} with (force)`);
  await server.end();
});

async function createEmptyDatabase(): Promise<string> {
  const name = `empty_${randomUUID().replaceAll('-', '')}`;
  await server.query(`create database ${name}`);
  made.push(name);
  return inject('postgresUrl').replace(/[^/]*$/, name);
}

async function recorded(databaseUrl: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const { rows } = await client.query<{ name: string }>(
    'select name from schema_migrations order by id',
  );
  await client.end();
  return rows.map(({ name }) => name);
}

describe('migrating', () => {
  it('six times at once runs each migration once', async () => {
    const databaseUrl = await createEmptyDatabase();
    const ran: string[] = [];
    const onMigration = (name: string): void => void ran.push(name);
    await Promise.all(Array.from({ length: 6 }, () => migrate({ databaseUrl, onMigration })));
    expect(ran).toEqual(migrations);
    expect(await recorded(databaseUrl)).toEqual(migrations);
  });

  it('in three processes at once runs each migration once', async () => {
    const databaseUrl = await createEmptyDatabase();
    const script = `import { migrate } from ${JSON.stringify(migrateModule)};
      await migrate({ databaseUrl: process.argv[1], onMigration: (name) => console.log(name) });`;
    const ran = await Promise.all(
      Array.from({ length: 3 }, () =>
        promisify(execFile)(process.execPath, [
          ...['--import', 'tsx', '--input-type=module', '--eval', script],
          databaseUrl,
        ]),
      ),
    );
    expect(ran.map(({ stdout }) => stdout).join('')).toBe(`${migrations.join('\n')}\n`);
    expect(await recorded(databaseUrl)).toEqual(migrations);
  });

  it('a second time does nothing', async () => {
    const databaseUrl = await createEmptyDatabase();
    await migrate({ databaseUrl });
    const ran: string[] = [];
    await migrate({ databaseUrl, onMigration: (name) => void ran.push(name) });
    expect(ran).toEqual([]);
    expect(await recorded(databaseUrl)).toEqual(migrations);
  });

  it('fails with store_unavailable, and takes no process with it, when its connection is ended', async () => {
    const databaseUrl = await createEmptyDatabase();
    const holder = new pg.Client({ connectionString: databaseUrl });
    await holder.connect();
    await holder.query('begin; create table schema_migrations (id serial primary key)');
    const failing = migrate({ databaseUrl }).catch((thrown: unknown) => thrown);
    await expect
      .poll(async () => {
        const { rowCount } = await server.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
            where datname = $1 and wait_event_type = 'Lock'`,
          [databaseUrl.replace(/.*\//, '')],
        );
        return rowCount;
      })
      .toBe(1);
    expect(await failing).toMatchObject({ code: 'store_unavailable' });
    await holder.end();
  });

  it('without a database fails with store_unavailable, and does not tell the password', async () => {
    const failing = migrate({ databaseUrl: 'postgres://me:hunter2@127.0.0.1:1/none' });
    const error = await failing.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'store_unavailable' });
    expect(String(error)).not.toContain('hunter2');
  });
});
