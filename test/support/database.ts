import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';

import { migrate } from '../../connections/migrate.ts';

const poolSize = 20;

export interface TestDatabase {
  url: string;
  pool: pg.Pool;
  drop(): Promise<void>;
}

/** A fresh, migrated database: one a test file. `drop` ends the pool and every other session on it. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const serverUrl = inject('postgresUrl');
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await runOnServer(serverUrl, `create database ${name}`);
  const url = serverUrl.replace(/[^/]*$/, name);
  await migrate({ databaseUrl: url });
  const pool = new pg.Pool({ connectionString: url, max: poolSize });
  // Dropping the database ends idle sessions, which a pool reports as errors.
  pool.on('error', () => undefined);
  return {
    url,
    pool,
    async drop() {
      await pool.end();
      await runOnServer(serverUrl, `drop database if exists ${name} with (force)`);
    },
  };
}

async function runOnServer(serverUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
