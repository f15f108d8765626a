import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { startReseal, readReseal, followReseal } from '../../cli/keys/reseal-run.ts';
import { refreshWorkflowId } from '../../client/contract.ts';
import { countKeyUses } from '../../connections/reseal-store.ts';
import { systemClock } from '../../platform/clock.ts';
import { createMetrics } from '../../platform/metrics.ts';
import { createVault } from '../../vault/create-vault.ts';
import { createDataKeyStore, replaceablePurposes } from '../../vault/data-key-store.ts';
import { retiredKeySealsForMs } from '../../vault/current-data-keys.ts';
import { createKeyProviders } from '../../vault/key-provider.ts';
import { loadLocalKey } from '../../vault/local-key-file.ts';
import { createLocalKeyProvider } from '../../vault/local-key-provider.ts';
import { rotateDataKeys } from '../../vault/rotate-data-keys.ts';
import { startCountingProvider, type CountingProvider } from '../support/counting-provider.ts';
import { runCommand } from '../support/run-command.ts';
import { seedConnections } from '../support/seed-connections.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import type { Answer } from '../support/test-stack.ts';

/*
 * Rotation under load. `npm run rotation-test` takes 100,000 rows, the command itself, and the time that it
 * gives processes to stop sealing with the old keys; the small run leaves that time out, for its worker is
 * killed and the next one knows the new keys.
 */
const rowCount = Number(process.env['KEY_ROTATION_ROWS'] ?? 2_000);
const isLong = rowCount > 10_000;
const rowsPerSecond = isLong ? 1_000 : 400;
const settleMs = isLong ? retiredKeySealsForMs : 1_000;
const readersAtOnce = 4;
const refreshersAtOnce = 2;
const loadPauseMs = 10;
const tenantId = 'tenant';
const seeds = { appId: 'app', tenantId };

let cluster: ServiceCluster;
let provider: CountingProvider;
let gateway: ServiceProcess;
let connection: Connection;
let temporal: Client;

beforeAll(async () => {
  [cluster, provider, connection] = await Promise.all([
    createServiceCluster(),
    startCountingProvider({ answerMs: 20, expiresInSeconds: 86_400 }),
    Connection.connect({ address: inject('temporalAddress') }),
  ]);
  temporal = new Client({ connection, namespace: inject('temporalNamespace') });
  gateway = await cluster.startReady('gateway');
  const { status } = await call('PUT', '/v1/apps/app', {
    provider: 'generic',
    client_id: 'client',
    client_secrets: ['secret'],
    overrides: { token_url: provider.url, limits: { min_interval_seconds: 0 } },
  });
  expect(status).toBe(201);
}, 60_000);
afterAll(async () => {
  await cluster.close();
  await provider.close();
  await connection.close();
});

function call(method: string, path: string, body?: unknown): Promise<Answer> {
  return callerOf(gateway).call(method, path, body);
}

async function composeKeys() {
  const keyFile = cluster.env['LOCAL_KEY_FILE'] ?? '';
  const keyProviders = createKeyProviders(createLocalKeyProvider(await loadLocalKey(keyFile)));
  const { pool } = cluster.database;
  return {
    keyProviders,
    dataKeys: createDataKeyStore(pool),
    vault: createVault({
      pool,
      keyProviders,
      clock: systemClock,
      metrics: createMetrics({ subsystem: 'test' }),
      log: { warn: () => undefined },
    }),
  };
}

async function usesOfRetired(): Promise<unknown[]> {
  const { pool } = cluster.database;
  const retired = await createDataKeyStore(pool).listRetired();
  const ids = new Set(retired.map(({ id }) => id));
  return (await countKeyUses(pool)).filter(({ dataKeyId }) => ids.has(dataKeyId));
}

/** Reads and refreshes of random connections until it is stopped. */
function startLoad(ids: string[]) {
  let isOver = false;
  const reads: { ms: number; answer: Answer }[] = [];
  const refreshes: { ms: number; id: string; answer: Answer }[] = [];
  const randomId = () => ids[Math.floor(Math.random() * ids.length)] ?? '';
  async function loop(ask: () => Promise<void>): Promise<void> {
    while (!isOver) {
      await ask();
      await sleep(loadPauseMs);
    }
  }
  const loops = [
    ...Array.from({ length: readersAtOnce }, () =>
      loop(async () => {
        const startedAtMs = performance.now();
        const answer = await call('GET', `/v1/connections/${randomId()}/token`);
        reads.push({ ms: performance.now() - startedAtMs, answer });
      }),
    ),
    ...Array.from({ length: refreshersAtOnce }, () =>
      loop(async () => {
        const [id, startedAtMs] = [randomId(), performance.now()];
        const body = { force: true, wait_seconds: 30 };
        const answer = await call('POST', `/v1/connections/${id}/token/refresh`, body);
        refreshes.push({ ms: performance.now() - startedAtMs, id, answer });
      }),
    ),
  ];
  return {
    reads,
    refreshes,
    async stop() {
      isOver = true;
      await Promise.all(loops);
    },
  };
}

/** Median and 99th percentile, in words. */
function describeTimes(times: number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.ceil(sorted.length * share) - 1]?.toFixed(0) ?? '-';
  return `${sorted.length}, median ${at(0.5)} ms, p99 ${at(0.99)} ms`;
}

describe('keys rotate', () => {
  it(
    `seals ${rowCount} rows anew under load, through the death of its worker`,
    { timeout: isLong ? 1_500_000 : 180_000 },
    async () => {
      const { pool } = cluster.database;
      const { keyProviders, dataKeys, vault } = await composeKeys();
      const ids = await seedConnections(pool, vault, {
        ...seeds,
        prefix: 'seeded',
        count: rowCount,
      });
      const first = await cluster.startReady('worker');
      if (isLong) await cluster.startReady('worker');
      const load = startLoad(ids);
      await sleep(isLong ? 20_000 : 2_000);
      const [readsBefore, refreshesBefore] = [load.reads.length, load.refreshes.length];

      const startedAtMs = performance.now();
      const { sweepQueue } = cluster;
      if (isLong) {
        const args = ['keys', 'rotate', '--no-wait', '--rows-per-second', String(rowsPerSecond)];
        const rotated = await runCommand(args, cluster.env);
        expect(rotated, rotated.stderr).toMatchObject({ code: 0 });
        expect(rotated.stdout).toContain('access: ');
      } else {
        await rotateDataKeys({ store: dataKeys, keyProviders }, replaceablePurposes);
        await startReseal(temporal, { sweepQueue, rowsPerSecond, settleMs });
      }
      const left = async () =>
        (
          await pool.query<{ left: number }>(
            `select count(*)::integer as left from connections c join data_keys k on k.id = c.access_key_id
         where k.retired_at is not null`,
          )
        ).rows[0]?.left ?? 0;
      await expect.poll(left, { timeout: 600_000, interval: 50 }).toBeLessThan(rowCount * 0.6);
      first.kill('SIGKILL');
      await first.exited;
      const leftAtKill = await left();
      expect(leftAtKill).toBeGreaterThan(rowCount * 0.2);
      // Nobody has taken it on yet: it was killed in the middle.
      expect((await readReseal(temporal, sweepQueue))?.status).toBe('RUNNING');
      await cluster.startReady('worker');
      const told: string[] = [];
      const summary = await followReseal(temporal, sweepQueue, (standing) => {
        told.push(JSON.stringify(standing));
      });
      const tookMs = performance.now() - startedAtMs;
      if (isLong) await sleep(10_000);
      await load.stop();

      expect(summary.left).toBe(0);
      expect(await usesOfRetired()).toEqual([]);
      // Its second worker began where the first one was killed: hardly a row was sealed twice.
      expect(summary.resealed).toBeLessThanOrEqual(rowCount + 200);
      expect(new Set(told).size).toBeGreaterThan(1);
      const refused = load.reads.filter(({ answer }) => answer.status !== 200);
      expect(refused.map(({ answer }) => answer.body)).toEqual([]);
      expect(load.reads.length).toBeGreaterThan(100);
      const refreshed = load.refreshes.filter(({ answer }) => answer.status === 200);
      expect(refreshed.length).toBeGreaterThan(20);
      const unexpected = load.refreshes.filter(
        ({ answer }) => answer.status !== 200 && answer.body['retryable'] !== true,
      );
      expect(unexpected.map(({ answer }) => answer.body)).toEqual([]);

      // Every row opens, and those that nobody refreshed hold what they held, counted as before.
      const touched = new Set(load.refreshes.map(({ id }) => id));
      const { rows } = await pool.query<{
        id: string;
        generation: string;
        token_version: string;
        sealed_access_token: Buffer;
        sealed_refresh_token: Buffer;
      }>(
        `select id, generation, token_version, sealed_access_token, sealed_refresh_token
         from connections order by id`,
      );
      expect(rows).toHaveLength(rowCount);
      for (const row of rows) {
        const owner = { tenantId, id: row.id, generation: Number(row.generation) };
        const access = await vault.open('access-token', owner, row.sealed_access_token);
        const refresh = await vault.open('refresh-token', owner, row.sealed_refresh_token);
        if (touched.has(row.id)) continue;
        expect([access.reveal(), refresh.reveal(), row.generation, row.token_version]).toEqual([
          `at-${row.id}`,
          `rt-${row.id}`,
          '1',
          '1',
        ]);
      }
      const sends = provider.sends.map(({ refreshToken }) => refreshToken);
      expect(new Set(sends).size).toBe(sends.length);
      process.stdout.write(
        [
          `rotation: ${rowCount} rows in ${(tookMs / 1_000).toFixed(1)} s, killed with ${leftAtKill} left, ` +
            `${summary.resealed} re-sealed in ${summary.passes} passes, ${refreshed.length} refreshed`,
          `  reads before: ${describeTimes(load.reads.slice(0, readsBefore).map(({ ms }) => ms))}`,
          `  reads meanwhile: ${describeTimes(load.reads.slice(readsBefore).map(({ ms }) => ms))}`,
          `  refreshes before: ${describeTimes(load.refreshes.slice(0, refreshesBefore).map(({ ms }) => ms))}`,
          `  refreshes meanwhile: ${describeTimes(load.refreshes.slice(refreshesBefore).map(({ ms }) => ms))}`,
          '',
        ].join('\n'),
      );
    },
  );

  it('leaves a sealed result of a history openable, and its key cannot be dropped', async () => {
    const { pool } = cluster.database;
    const { keyProviders, dataKeys, vault } = await composeKeys();
    const [id = ''] = await seedConnections(pool, vault, { ...seeds, prefix: 'sealed', count: 1 });
    await pool.query(
      `create function refuse_tokens() returns trigger language plpgsql as
         $$ begin raise exception 'tokens are refused'; end $$;
       create trigger refuse_tokens before update on connections for each row
         when (new.generation > old.generation) execute function refuse_tokens()`,
    );
    const caller = call('POST', `/v1/connections/${id}/token/refresh`, {
      force: true,
      wait_seconds: 60,
    });
    const handle = temporal.workflow.getHandle(refreshWorkflowId(id));
    await expect
      .poll(async () => JSON.stringify(await handle.fetchHistory().catch(() => undefined)), {
        timeout: 30_000,
      })
      .toContain('ACTIVITY_TASK_COMPLETED');
    const [rotated] = await rotateDataKeys({ store: dataKeys, keyProviders }, ['sealed-result']);
    expect(rotated).toMatchObject({ isTheirs: false });
    const { rows } = await pool.query<{ id: string }>(
      `select id from data_keys where purpose = 'sealed-result' and retired_at is not null
       order by retired_at desc limit 1`,
    );
    const [retired] = rows;
    const named = await runCommand(['keys', 'drop', retired?.id ?? ''], cluster.env);
    expect(named.code, named.stderr).toBe(1);
    expect(named.stdout).toMatch(/stays: it was retired less than \d+ d ago, and results sealed/);
    await pool.query('drop trigger refuse_tokens on connections');
    expect((await caller).body).toMatchObject({ token_version: 2 });
  }, 90_000);
});
