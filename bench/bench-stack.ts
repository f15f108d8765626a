import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { searchAttributeNames } from '../client/contract.ts';
import { migrate } from '../connections/migrate.ts';
import { startEmbeddedPostgres } from '../dev/embedded-postgres.ts';
import { findFreePort } from '../dev/ports.ts';
import { findTemporalCli } from '../dev/temporal-cli.ts';
import { startTemporalDevServer } from '../dev/temporal-dev-server.ts';
import { keyHashOf } from '../gateway/callers.ts';
import { loadConfigFile } from '../platform/config-file.ts';
import { issueCertificates, type ServerCertificates } from '../test/support/certificates.ts';
import { createLocalKeyFile } from '../vault/local-key-file.ts';
import { startProgram, type Child } from './child-calls.ts';
import type { Load } from './programs/load.ts';
import type { Provider } from './programs/provider.ts';
import { startService, type Service, type ServiceCommand } from './service.ts';
import { openStores, type Stores } from './stores.ts';

const root = join(import.meta.dirname, '..');
const callerKey = 'tmk_bench_key_of_a_caller_who_may_do_everything';
const connectionsInTests = 8;

/** What the scenarios run on; each part starts when the first scenario asks for it. */
export interface BenchStack {
  folder: string;
  /** Of the key that wraps all data keys. */
  keyFile: string;
  /** What a caller with a key sends. */
  headers: Record<string, string>;
  load(): Promise<Child<Load>>;
  /** Another one, for callers who are not measured. */
  herdLoad(): Promise<Child<Load>>;
  provider(): Promise<Child<Provider>>;
  temporalAddress(): Promise<string>;
  /** By which services find it. */
  temporalEnv(): Promise<Record<string, string>>;
  certificates(): Promise<ServerCertificates>;
  /** The stores over a database of its own for each name, migrated. */
  stores(name: string): Promise<Stores>;
  /** Another process of the command, over the database of that name. */
  service(
    command: ServiceCommand,
    database: string,
    env?: Record<string, string>,
  ): Promise<Service>;
  program<Offered extends object>(name: string, argument: unknown): Promise<Child<Offered>>;
  /** Ends the services and programs that were started since the last call. */
  endScenario(): Promise<void>;
  close(): Promise<void>;
}

export async function startBenchStack(): Promise<BenchStack> {
  const folder = mkdtempSync(join(tmpdir(), 'token-manager-bench-'));
  // PostgreSQL runs as another user where this runs as root.
  chmodSync(folder, 0o755);
  const closers: (() => Promise<void>)[] = [];
  const closing = <Part extends { stop(): Promise<void> }>(part: Part): Part => {
    closers.unshift(() => part.stop());
    return part;
  };
  const ofScenario: (() => Promise<void>)[] = [];
  const pids: number[] = [];
  // A run that ends before its time leaves nothing behind.
  process.once('exit', () => {
    for (const pid of pids) killIfThere(pid);
    rmSync(folder, { recursive: true, force: true });
  });
  const keyFile = join(folder, 'local.key');
  await createLocalKeyFile(keyFile);

  const postgres = await startEmbeddedPostgres({
    dataDirectory: join(folder, 'postgres'),
    port: await findFreePort(),
    portSetting: 'run it again',
    fsync: true,
  });
  pids.push(postgres.pid);
  closing(postgres);

  const start = <Offered extends object>(name: string, argument: unknown) =>
    startProgram<Offered>(join(import.meta.dirname, 'programs', `${name}.ts`), argument);

  const endScenario = async () => {
    await Promise.all(ofScenario.splice(0).map((end) => end()));
  };

  const temporalAddress = once(async () => {
    const file = loadConfigFile();
    const temporal = await startTemporalDevServer({
      cli: await findTemporalCli({
        cliPath: process.env['TEMPORAL_CLI_PATH'],
        cacheDirectory: join(root, '.token-manager', 'cache'),
        onDownload: (source) => process.stderr.write(`Downloading the Temporal CLI: ${source}\n`),
      }),
      port: await findFreePort(),
      portSetting: 'run it again',
      namespace: file.namespace,
      retentionMs: file.retentionMs,
      dbFilename: join(folder, 'temporal.db'),
      logFile: join(folder, 'temporal.log'),
      dynamicConfig: file.dev.dynamicConfig,
      searchAttributes: Object.fromEntries(searchAttributeNames.map((name) => [name, 'Keyword'])),
    });
    pids.push(temporal.pid);
    closing(temporal);
    return temporal.address;
  });

  const callersFile = join(folder, 'callers.json');
  const everything = { scopes: ['tokens:read', 'tokens:refresh'], tenants: '*' };
  writeFileSync(
    callersFile,
    JSON.stringify({
      callers: [
        { name: 'bench', key_hashes: [keyHashOf(callerKey)], ...everything },
        { name: 'bench-tls', match: ['dns:bench.example.com'], ...everything },
      ],
    }),
    { mode: 0o600 },
  );

  const databases = new Map<string, Promise<Stores>>();
  const stores = (name: string) => {
    let opened = databases.get(name);
    opened ??= createDatabase(postgres.url('postgres'), name)
      .then((url) => openStores({ url, keyFile, connectionsMax: connectionsInTests }))
      .then(closing);
    databases.set(name, opened);
    return opened;
  };

  return {
    folder,
    keyFile,
    headers: { authorization: `Bearer ${callerKey}` },
    herdLoad: once(async () => closing(await start<Load>('load', null))),
    load: once(async () => closing(await start<Load>('load', null))),
    provider: once(async () => closing(await start<Provider>('provider', null))),
    temporalAddress,
    temporalEnv: async () => ({
      TEMPORAL_ADDRESS: await temporalAddress(),
      TEMPORAL_NAMESPACE: loadConfigFile().namespace,
    }),
    certificates: once(() => issueCertificates(['127.0.0.1', 'bench.example.com'])),
    stores,
    async service(command, database, env = {}) {
      const { url } = await stores(database);
      const service = await startService(command, {
        logFile: join(folder, `${command}-${pids.length}.log`),
        env: {
          DATABASE_URL: url,
          LOCAL_KEY_FILE: keyFile,
          CALLERS_FILE: callersFile,
          HOST: '127.0.0.1',
          EGRESS_ALLOW: '127.0.0.1',
          ...env,
        },
      });
      pids.push(service.pid);
      ofScenario.push(() => service.stop());
      return service;
    },
    async program<Offered extends object>(name: string, argument: unknown) {
      const child = await start<Offered>(name, argument);
      ofScenario.push(() => child.stop());
      return child;
    },
    endScenario,
    async close() {
      await endScenario();
      for (const close of closers) await close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function once<Result>(begin: () => Promise<Result>): () => Promise<Result> {
  let begun: Promise<Result> | undefined;
  return () => (begun ??= begin());
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}

/** Returns its connection string. */
async function createDatabase(serverUrl: string, name: string): Promise<string> {
  const client = new pg.Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(`create database ${name}`);
  } finally {
    await client.end();
  }
  const databaseUrl = serverUrl.replace(/[^/]*$/, name);
  await migrate({ databaseUrl });
  return databaseUrl;
}
