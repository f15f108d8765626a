import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { migrate } from '../../connections/migrate.ts';
import { startEmbeddedPostgres } from '../../dev/embedded-postgres.ts';
import { findFreePort } from '../../dev/ports.ts';
import { createLocalKeyFile } from '../../vault/local-key-file.ts';
import { startTestTemporal } from '../support/temporal-server.ts';
import { gatewayNames, workerNames } from './chaos-schedule.ts';
import { createDatabaseAudit, type DatabaseAudit } from './database-audit.ts';
import { startProviderProcess, type ProviderProcess } from './provider-process.ts';
import type { Reaper } from './reaper.ts';
import { createServerSlot, type ServerSlot } from './server-slot.ts';
import { createServiceSlot, type ServiceSlot } from './service-slot.ts';

const database = 'endurance';
const namespace = 'default';
const poolSize = 4;
const queryTimeoutMs = 5_000;
/**
 * Shorter than an access token lives, so that the run sees what becomes of a lost answer; class T keeps
 * its own, which comes from its grace.
 */
const deadlineSeconds = { S: 5, L: 5, C: 5, X: 5, F: 5 };

/** Everything that runs, each part a process of its own. */
export interface EnduranceStack {
  gateways: ServiceSlot[];
  workers: ServiceSlot[];
  postgres: ServerSlot;
  temporal: ServerSlot;
  provider: ProviderProcess;
  pool: pg.Pool;
  audit: DatabaseAudit;
  /** Ends gateways and workers as an operator would. */
  endServices(): Promise<void>;
  /** Ends the rest. */
  close(): Promise<void>;
}

export async function startEnduranceStack(options: {
  folder: string;
  seed: number;
  logFile: string;
  cliPath: string | undefined;
  reaper: Reaper;
  nowMs: () => number;
}): Promise<EnduranceStack> {
  const { folder, reaper, nowMs } = options;
  const [postgresPort, temporalPort] = [await findFreePort(), await findFreePort()];
  let serverUrl = '';
  const postgres = createServerSlot(
    async () => {
      const server = await startEmbeddedPostgres({
        dataDirectory: join(folder, 'postgres'),
        port: postgresPort,
        portSetting: 'run it again',
        // A commit must outlive the process that is killed.
        fsync: true,
      });
      serverUrl = server.url('postgres');
      return server;
    },
    { reaper, nowMs },
  );
  let temporalAddress = '';
  const temporalFolder = join(folder, 'temporal');
  mkdirSync(temporalFolder);
  const temporal = createServerSlot(
    async () => {
      const server = await startTestTemporal({
        cliPath: options.cliPath,
        namespace,
        directory: temporalFolder,
        port: temporalPort,
        dbFilename: join(temporalFolder, 'temporal.db'),
      });
      temporalAddress = server.address;
      return server;
    },
    { reaper, nowMs },
  );
  const [provider] = await Promise.all([
    startProviderProcess(options),
    postgres.start(),
    temporal.start(),
  ]);
  reaper.watch(provider.pid);

  const databaseUrl = await createDatabase(serverUrl);
  await migrate({ databaseUrl });
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: poolSize,
    connectionTimeoutMillis: queryTimeoutMs,
    query_timeout: queryTimeoutMs,
  });
  // PostgreSQL is killed on purpose; the next query connects again.
  pool.on('error', () => undefined);
  const audit = createDatabaseAudit(pool);
  await audit.install();

  const keyFile = join(folder, 'local.key');
  await createLocalKeyFile(keyFile);
  const configFile = join(folder, 'temporal.config.json');
  writeFileSync(configFile, JSON.stringify({ refresh: { deadlineSeconds } }));
  const env = (name: string): Record<string, string> => ({
    DATABASE_URL: `${databaseUrl}?application_name=${name}`,
    TEMPORAL_ADDRESS: temporalAddress,
    TEMPORAL_NAMESPACE: namespace,
    LOCAL_KEY_FILE: keyFile,
    EGRESS_ALLOW: '127.0.0.1',
    TEST_CONFIG_FILE: configFile,
  });
  const slotOf = (name: (typeof gatewayNames)[number] | (typeof workerNames)[number]) =>
    createServiceSlot({ name, env, reaper, nowMs });
  const gateways = await Promise.all(gatewayNames.map(slotOf));
  const workers = await Promise.all(workerNames.map(slotOf));
  const services = [...gateways, ...workers];
  await Promise.all(services.map((slot) => slot.start()));

  return {
    gateways,
    workers,
    postgres,
    temporal,
    provider,
    pool,
    audit,
    async endServices() {
      await Promise.all(services.map((slot) => slot.terminate()));
    },
    async close() {
      await pool.end();
      await Promise.all([postgres.stop(), temporal.stop(), provider.stop()]);
      reaper.forget(provider.pid);
    },
  };
}

/** Returns its connection string. */
async function createDatabase(serverUrl: string): Promise<string> {
  const client = new pg.Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(`create database ${database}`);
  } finally {
    await client.end();
  }
  return serverUrl.replace(/[^/]*$/, database);
}
