import { randomUUID } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import { NativeConnection, Runtime } from '@temporalio/worker';

import { createActivities } from '../activities/index.ts';
import { createTokenKeeper } from '../activities/token-keeper.ts';
import { createAppRegistry } from '../connections/app-registry.ts';
import { createConnectionRegistry } from '../connections/connection-registry.ts';
import { createExchangeStore } from '../connections/exchange-store.ts';
import { composeGateway, type ComposedGateway } from '../gateway/compose-gateway.ts';
import type { BuildInfo } from '../gateway/routes/build.ts';
import { createEgressGuard, parseEgressAllow } from '../oauth/egress.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../oauth/provider-catalogue.ts';
import { createTokenEndpoint } from '../oauth/token-endpoint.ts';
import { createDatabaseClock, systemClock as clock } from '../platform/clock.ts';
import type { Config } from '../platform/config.ts';
import { createLogger } from '../platform/log.ts';
import { createMetrics } from '../platform/metrics.ts';
import { createPostgresPool } from '../platform/postgres-pool.ts';
import { createTemporalRefreshEngine } from '../platform/temporal-refresh-engine.ts';
import { createVault } from '../vault/create-vault.ts';
import { loadLocalKey } from '../vault/local-key-file.ts';
import { createLocalKeyProvider } from '../vault/local-key-provider.ts';
import { createSealedResults } from '../worker/sealed-results.ts';
import { createWorker } from '../worker/create-worker.ts';

const hourMs = 3_600_000;
const distFolder = join(import.meta.dirname, '..');

export interface RunningService {
  url: ComposedGateway['url'];
  metricsUrl: ComposedGateway['metricsUrl'];
  /** Resolves with a readable reason when gateway or worker has ended, wanted or not. */
  ended: Promise<string>;
  /** Drains the gateway, then the worker. */
  stop(): Promise<void>;
}

/** Gateway and worker in this process over one NativeConnection, which allows eager Workflow start. */
export async function startService(config: Config): Promise<RunningService> {
  const log = createLogger({
    subsystem: config.subsystemName,
    level: config.log.level,
    pretty: true,
  });
  // Our own handlers decide the order in which everything ends.
  Runtime.install({ shutdownSignals: [] });
  const metrics = createMetrics({ subsystem: config.subsystemName });
  const databaseClock = createDatabaseClock(clock);
  const { temporal, database } = config;
  const connection = await NativeConnection.connect(temporal.connectionOptions());
  const client = new Client({ connection, namespace: temporal.namespace });
  const pool = createPostgresPool({
    url: database.url,
    applicationName: config.subsystemName,
    log,
  });

  const keyProvider = createLocalKeyProvider(await loadLocalKey(config.localKeyFile));
  const vault = createVault({ pool, keyProvider, clock, metrics });
  const providers = createProviderCatalogue({
    builtIn: loadBuiltInProviders(),
    ...(config.providersFile === undefined
      ? {}
      : { providersFile: readFileSync(config.providersFile, 'utf8') }),
  });
  const apps = createAppRegistry({ store: pool, vault, providers });
  const connections = createConnectionRegistry({
    store: pool,
    vault,
    apps,
    providers,
    clock,
    databaseClock,
    random: Math.random,
  });
  const keeper = createTokenKeeper({
    unstored: metrics.refreshedButNotStored,
    onStored: (fence, outcome) => log.info({ fence, outcome }, 'kept tokens are stored'),
  });
  const worker = await createWorker({
    connection,
    namespace: temporal.namespace,
    taskQueue: temporal.taskQueues.refresh,
    workflowBundlePath: join(distFolder, 'worker', 'workflow-bundle.js'),
    activities: createActivities({
      store: createExchangeStore(pool),
      vault,
      providers,
      tokenEndpoint: createTokenEndpoint({
        egress: createEgressGuard({
          allow: parseEgressAllow(config.egressAllow.join(',')),
          lookup: async (hostname) =>
            (await lookup(hostname, { all: true })).map(({ address }) => address),
        }),
        clock,
        randomUuid: randomUUID,
      }),
      keeper,
      sealedResults: createSealedResults(client),
      clock,
      random: Math.random,
      randomUuid: randomUUID,
      log,
      metrics,
    }),
    activitySlots: temporal.worker.slots.activities,
    workflowTaskSlots: temporal.worker.slots.workflowTasks,
    pollers: temporal.worker.pollers,
    shutdownGraceMs: 1_000 * temporal.worker.shutdownGraceSeconds,
  });
  const running = worker.run();

  const gateway = await composeGateway({
    connections,
    apps,
    refreshEngine: createTemporalRefreshEngine({
      client,
      taskQueue: temporal.taskQueues.refresh,
      workflowExecutionTimeoutMs: temporal.refresh.workflowExecutionHours * hourMs,
      requestEagerStart: true,
    }),
    clock,
    databaseClock,
    log,
    metrics,
    build: readBuildInfo(),
    logHttpRequests: config.log.httpRequests,
    host: config.http.host,
    port: config.http.port,
    metricsPort: config.metrics.port,
    checks: {
      postgres: () => pool.query('select 1'),
      temporal: () => connection.workflowService.getSystemInfo({}),
    },
  });
  return {
    url: gateway.url,
    metricsUrl: gateway.metricsUrl,
    ended: running.then(
      () => 'the worker has ended',
      (error: unknown) => `the worker has failed: ${error instanceof Error ? error.message : '?'}`,
    ),
    async stop() {
      await gateway.close();
      if (worker.getState() === 'RUNNING') worker.shutdown();
      await running.catch(() => undefined);
      keeper.stop();
      await connection.close();
      await pool.end();
    },
  };
}

function readBuildInfo(): BuildInfo {
  return JSON.parse(readFileSync(join(distFolder, 'build-info.json'), 'utf8')) as BuildInfo;
}
