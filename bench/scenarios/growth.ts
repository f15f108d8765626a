import type { QueryResult, QueryResultRow } from 'pg';
import { createConnectionRegistry } from '../../connections/connection-registry.ts';
import type { Statement } from '../../connections/store-query.ts';
import { createSweepStore } from '../../connections/sweep-store.ts';
import { interleave, ratio } from '../rounds.ts';
import type { Figure, Measurement, Scenario } from '../scenario.ts';
import { benchApp, connectionIds, prepareConnections } from '../seed-connections.ts';
import { median, summarise } from '../statistics.ts';
import type { Stores } from '../stores.ts';

const sweepPage = 200;
const readsSampled = 1_000;

/** What a read and a page of the sweep cost as connections grow, and what room they take. */
export const growth: Scenario = {
  figures: ['read_1m_to_read_1k_latency', 'sweep_page_1m_to_1k'],
  async prepare({ stack, extent, tell }) {
    const { largest } = extent;
    const counts = { small: 1_000, middle: largest / 10, large: largest };
    const sizes = {
      small: await prepareConnections(stack, 'growth_small', counts.small, tell),
      middle: await prepareConnections(stack, 'growth_middle', counts.middle, tell),
      large: await prepareConnections(stack, 'growth_large', counts.large, tell),
    };
    const readers = {
      small: reader(sizes.small, counts.small),
      middle: reader(sizes.middle, counts.middle),
      large: reader(sizes.large, counts.large),
    };
    const sides = {
      read_small: () => readers.small(),
      read_middle: () => readers.middle(),
      read_large: () => readers.large(),
      sweep_small: () => sweepMs(sizes.small, counts.small),
      sweep_middle: () => sweepMs(sizes.middle, counts.middle),
      sweep_large: () => sweepMs(sizes.large, counts.large),
    };
    for (const warmUp of Object.values(sides)) await warmUp();

    return async () => {
      await checkPlans(sizes.large);
      const measured = await interleave(extent.rounds, sides, tell);
      const figures: Figure[] = [
        {
          name: 'read_1m_to_read_1k_latency',
          summary: ratio(measured.read_large, measured.read_small),
          bar: { atMost: 1.3 },
        },
        {
          name: 'sweep_page_1m_to_1k',
          summary: ratio(measured.sweep_large, measured.sweep_small),
          bar: { atMost: 1.5 },
        },
      ];
      const measurements: Measurement[] = [];
      for (const size of ['small', 'middle', 'large'] as const) {
        const count = counts[size];
        measurements.push(
          {
            what: `SELECT and open among ${count}, median`,
            unit: 'ms',
            summary: summarise(measured[`read_${size}`]),
          },
          {
            what: `sweep claims ${sweepPage} of ${count}`,
            unit: 'ms',
            summary: summarise(measured[`sweep_${size}`]),
          },
          ...(await roomTaken(sizes[size], count)),
        );
      }
      return { figures, measurements };
    };
  },
};

/** The median of reads spread over all connections. */
function reader({ connections }: Stores, count: number): () => Promise<number> {
  const ids = connectionIds(count);
  return async () => {
    const latenciesMs: number[] = [];
    for (let sampled = 0; sampled < readsSampled; sampled += 1) {
      const id = ids[Math.floor(Math.random() * count)] ?? '';
      const beganAtMs = performance.now();
      const reading = await connections.readToken(id);
      if (reading === undefined) throw new Error(`${id} is not there`);
      await reading.open();
      latenciesMs.push(performance.now() - beganAtMs);
    }
    return median(latenciesMs);
  };
}

/** Of the two statements by which the sweep finds and claims a page. */
async function sweepMs({ pool }: Stores, count: number): Promise<number> {
  const from = Math.floor(Math.random() * (count - sweepPage));
  await pool.query(
    `update connections set refresh_due_at = now() - interval '1 minute' where id = any($1)`,
    [connectionIds(sweepPage, from)],
  );
  const sweep = createSweepStore(pool);
  const beganAtMs = performance.now();
  const apps = await sweep.dueApps(1);
  const { claimed } = await sweep.claim(
    apps.map(({ appId }) => ({ appId, quota: sweepPage })),
    sweepPage,
  );
  const elapsedMs = performance.now() - beganAtMs;
  if (claimed.length !== sweepPage) throw new Error(`the sweep claimed ${claimed.length}`);
  return elapsedMs;
}

/** Throws where a statement of the read or of the sweep would look at every connection. */
async function checkPlans(stores: Stores): Promise<void> {
  const statements: Statement[] = [];
  const recording = {
    query<Row extends QueryResultRow>(statement: Statement): Promise<QueryResult<Row>> {
      statements.push(statement);
      return stores.pool.query<Row>(statement);
    },
    connect: () => stores.pool.connect(),
  };
  const registry = createConnectionRegistry({ ...stores.dependencies, store: recording });
  await registry.readToken('connection-1');
  await Promise.all(connectionIds(2).map((id) => registry.readToken(id)));
  const sweep = createSweepStore(recording);
  await sweep.dueApps(1);
  await sweep.claim([{ appId: benchApp, quota: sweepPage }], sweepPage);
  for (const { name, text, values } of statements) {
    const { rows } = await stores.pool.query<{ 'QUERY PLAN': string }>(
      `explain (costs off) ${text}`,
      values,
    );
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
    if (plan.includes('Seq Scan on connections')) {
      throw new Error(`${name} looks at every connection:\n${plan}`);
    }
  }
}

async function roomTaken({ pool }: Stores, count: number): Promise<Measurement[]> {
  const { rows } = await pool.query<{ tables: string; indexes: string }>(
    `select sum(pg_table_size(t)) as tables, sum(pg_indexes_size(t)) as indexes
     from unnest('{connections, refresh_token_fingerprints}'::regclass[]) t`,
  );
  const bytes = (total: string | undefined) => summarise([Number(total) / count]);
  return [
    { what: `tables, of ${count}`, unit: 'bytes a connection', summary: bytes(rows[0]?.tables) },
    { what: `indexes, of ${count}`, unit: 'bytes a connection', summary: bytes(rows[0]?.indexes) },
  ];
}
