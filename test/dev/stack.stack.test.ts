import { Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';

import { searchAttributeNames } from '../../client/contract.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

afterAll(async () => {
  await database.drop();
});

test('a test database is PostgreSQL 18, migrated and empty', async () => {
  const { rows } = await database.pool.query<{ version: number; connections: string }>(
    "select current_setting('server_version_num')::int as version, (select count(*) from connections) as connections",
  );
  expect(rows[0]?.version).toBeGreaterThanOrEqual(180_000);
  expect(rows[0]?.connections).toBe('0');
});

test('two test databases do not see each other', async () => {
  const other = await createTestDatabase();
  try {
    await other.pool.query('create table only_there ()');
    const { rows } = await database.pool.query("select to_regclass('only_there') as found");
    expect(rows).toEqual([{ found: null }]);
  } finally {
    await other.drop();
  }
});

test('the Temporal server knows our search attributes as keywords', async () => {
  const connection = await Connection.connect({ address: inject('temporalAddress') });
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({
      namespace: inject('temporalNamespace'),
    });
    const keyword = 2;
    for (const name of searchAttributeNames) expect(customAttributes[name]).toBe(keyword);
  } finally {
    await connection.close();
  }
});
