import { createSecretKey } from 'node:crypto';
import pg from 'pg';
import { createMetrics, type Metrics } from '../../platform/metrics.ts';
import { createVault } from '../../vault/create-vault.ts';
import type { Queryable } from '../../vault/data-key-store.ts';
import { createKeyProviders, type KeyProvider } from '../../vault/key-provider.ts';
import { createLocalKeyProvider } from '../../vault/local-key-provider.ts';
import { createTestDatabase } from '../support/database.ts';

/** A provider like the local one that counts, can be away, and takes a while, as a key service does. */
export function createCountingProvider(options: { wrappingKey?: Buffer; name?: string } = {}) {
  const { wrappingKey = Buffer.alloc(32, 1), name = 'local' } = options;
  const local = createLocalKeyProvider(createSecretKey(wrappingKey));
  const seen = { wraps: 0, unwraps: 0, away: false };
  const answer = async () => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (seen.away) throw new Error('The key service is away.');
  };
  const provider: KeyProvider = {
    name,
    async wrap(key, context) {
      seen.wraps += 1;
      await answer();
      return local.wrap(key, context);
    },
    async unwrap(wrapped, context) {
      seen.unwraps += 1;
      await answer();
      return local.unwrap(wrapped, context);
    },
  };
  return { provider, seen };
}

/** Vaults of several processes over one database, with clocks that the test sets. */
export async function createVaultFixture() {
  const database = await createTestDatabase();
  const nobody = new pg.Pool({ host: '127.0.0.1', port: 1 });
  const running = new Set<Promise<unknown>>();

  /** PostgreSQL that can go away: then every query goes to a port where nobody listens. */
  function createSwitchablePool() {
    const state = { away: false, queries: 0 };
    const pool: Queryable = {
      query(text, values) {
        state.queries += 1;
        const query = (state.away ? nobody : database.pool).query(text, values);
        running.add(query);
        return query;
      },
    };
    return { pool, state };
  }

  return {
    database,
    /** A vault as one process has it; `others` are key providers that only unwrap. */
    createProcess(
      options: { wrappingKey?: Buffer; name?: string; others?: readonly KeyProvider[] } = {},
    ) {
      const { provider, seen } = createCountingProvider(options);
      const { pool, state } = createSwitchablePool();
      const metrics: Metrics = createMetrics({ subsystem: 'test' });
      const time = { ms: 0 };
      const lines: object[] = [];
      const vault = createVault({
        pool,
        keyProviders: createKeyProviders(provider, options.others),
        clock: { monotonicMs: () => time.ms, wallMs: () => time.ms },
        metrics,
        log: { warn: (...line: unknown[]) => void lines.push(line) },
      });
      const metric = async (line: RegExp) => line.exec((await metrics.page()).body)?.[1];
      return { vault, provider: seen, database: state, time, metric, lines };
    },
    async currentKeys() {
      const { rows } = await database.pool.query<{ purpose: string; id: string }>(
        'select purpose, id from data_keys where retired_at is null order by purpose',
      );
      return rows;
    },
    /** Without data keys again. */
    async reset() {
      // A sealer rejects at its first missing key while the queries for the others still run.
      await Promise.allSettled(running);
      running.clear();
      await database.pool.query('delete from data_keys');
    },
    drop: () => database.drop(),
  };
}
