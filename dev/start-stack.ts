import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import pg from 'pg';

import { migrate } from '../connections/migrate.ts';
import { loadConfigFile } from '../platform/config-file.ts';
import { loadConfig } from '../platform/config.ts';
import { createLocalKeyFile } from '../vault/local-key-file.ts';
import type { StackFile } from './describe-stack.ts';
import { startEmbeddedPostgres } from './embedded-postgres.ts';
import type { LocalData } from './local-data.ts';
import { assertPortIsFree } from './ports.ts';
import { registerDemo } from './register-demo.ts';
import { serveDemoProvider } from './serve-demo-provider.ts';
import { startService } from './service.ts';
import type { Shutdown } from './shutdown.ts';
import { findTemporalCli } from './temporal-cli.ts';
import { startTemporalDevServer } from './temporal-dev-server.ts';

const database = 'token_manager';
const loopback = '127.0.0.1';
const configFileName = 'temporal.config.json';

type Environment = Record<string, string | undefined>;

export interface StackOptions {
  /** The checkout. */
  root: string;
  data: LocalData;
  env: Environment;
  /** Gets whatever was started, also when something after it fails. */
  shutdown: Shutdown;
  /** Told when a part has ended by itself. */
  onEnded: (reason: string) => void;
}

/**
 * Starts every part in the order in which they need each other, a line a step. Resolves when the demo
 * connection can be read. Throws SetupError, or TokenManagerError for what a part refuses.
 */
export async function startStack(options: StackOptions): Promise<StackFile> {
  const { root, data, env, shutdown, onEnded } = options;
  const file = loadConfigFile();
  const { ports } = file.dev;
  const portSetting = (name: keyof typeof ports): string =>
    `dev.ports.${name} in ${configFileName}`;

  const databaseUrl =
    env['DATABASE_URL'] ??
    (await step('PostgreSQL', async () => {
      const postgres = await startEmbeddedPostgres({
        dataDirectory: data.postgres,
        port: ports.postgres,
        portSetting: portSetting('postgres'),
        fsync: true,
      });
      shutdown.add('PostgreSQL', { stop: () => postgres.stop(), kill: () => kill(postgres.pid) });
      void postgres.ended.then(onEnded);
      await createDatabase(postgres.url('postgres'));
      return [postgres.url(database), `${postgres.version} on ${ports.postgres}`];
    }));

  await step('Schema', async () => {
    const ran: string[] = [];
    await migrate({ databaseUrl, onMigration: (name) => ran.push(name) });
    return [undefined, ran.length === 0 ? 'up to date' : ran.join(', ')];
  });

  const temporalAddress = await step('Temporal', async () => {
    const cli = await findTemporalCli({
      cliPath: env['TEMPORAL_CLI_PATH'],
      cacheDirectory: data.cache,
      onDownload: (source) => console.log(`Downloading the Temporal CLI: ${source} …`),
    });
    const temporal = await startTemporalDevServer({
      cli,
      port: ports.temporal,
      uiPort: ports.temporalUi,
      portSetting: `${portSetting('temporal')} or temporalUi`,
      namespace: file.namespace,
      retentionMs: file.retentionMs,
      dbFilename: resolve(root, file.dev.dbFilename),
      logFile: data.temporalLog,
      dynamicConfig: file.dev.dynamicConfig,
      searchAttributes: file.searchAttributes,
      ...(file.nexusEndpoint !== null && {
        nexusEndpoint: { name: file.nexusEndpoint, taskQueue: file.taskQueues.wait },
      }),
    });
    shutdown.add('Temporal', { stop: () => temporal.stop(), kill: () => kill(temporal.pid) });
    void temporal.ended.then(onEnded);
    return [temporal.address, `on ${ports.temporal}, UI on ${ports.temporalUi}`];
  });

  const provider = await step('Demo provider', async () => {
    await assertPortIsFree(ports.provider, 'the demo provider', portSetting('provider'));
    const served = await serveDemoProvider(data, ports.provider, portSetting('provider'));
    shutdown.add('The demo provider', served);
    return [served, `on ${ports.provider}`];
  });

  const localKeyFile = env['LOCAL_KEY_FILE'] ?? data.localKeyFile;
  if (env['LOCAL_KEY_FILE'] === undefined) await createLocalKeyFile(localKeyFile);
  writeFileSync(data.temporalToml, '[profile.default]\n');
  const config = loadConfig({
    env: {
      ...withoutForeignServers(env),
      DATABASE_URL: databaseUrl,
      LOCAL_KEY_FILE: localKeyFile,
      TEMPORAL_ADDRESS: temporalAddress,
      TEMPORAL_NAMESPACE: file.namespace,
      TEMPORAL_CONFIG_FILE: data.temporalToml,
    },
    defaults: { PORT: String(ports.gateway), EGRESS_ALLOW: loopback, ALLOW_LOCAL_KEYS: 'true' },
  });
  await assertPortIsFree(config.http.port, 'the gateway', 'PORT');
  if (config.metrics.port !== 0) {
    await assertPortIsFree(config.metrics.port, 'the metrics page', 'METRICS_PORT');
  }
  if (config.pprof.port !== 0) {
    await assertPortIsFree(config.pprof.port, 'the page of profiles', 'PPROF_PORT');
  }
  const service = await step('Gateway and worker', async () => {
    const started = await startService(config);
    shutdown.add('Gateway and worker', started);
    void started.ended.then(onEnded);
    return [started, `on ${new URL(started.url).port}`];
  });
  await step('Demo connection', async () => {
    await registerDemo(service, provider);
    return [undefined, '`demo`'];
  });

  return {
    gateway: service.url,
    metrics: service.metricsUrl === undefined ? null : `${service.metricsUrl}/metrics`,
    pprof: service.pprofUrl ?? null,
    temporal_ui: `http://${loopback}:${ports.temporalUi}`,
    temporal_address: temporalAddress,
    namespace: file.namespace,
    nexus_endpoint: file.nexusEndpoint,
    database_url: databaseUrl,
    local_key_file: localKeyFile,
    egress_allow: config.egressAllow.join(','),
    provider: provider.issuer,
    provider_stats: `${provider.issuer}/stats`,
  };
}

/** One line a step, once it is done: what, where, how long. */
async function step<Result>(
  what: string,
  work: () => Promise<[result: Result, where: string]>,
): Promise<Result> {
  const startedAt = performance.now();
  const [result, where] = await work();
  console.log(`${what} ${where} … ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`);
  return result;
}

async function createDatabase(serverUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl });
  await client.connect();
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [
      database,
    ]);
    if (rowCount === 0) await client.query(`create database ${database}`);
  } finally {
    await client.end();
  }
}

/** Variables that mean another Temporal or PostgreSQL must not mix with those of the stack. */
function withoutForeignServers(env: Environment): Environment {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^(?:TEMPORAL_|PG[A-Z]|DATABASE_URL_FILE$)/.test(name)),
  );
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}
