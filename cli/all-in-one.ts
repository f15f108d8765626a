import { Client } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { composeGateway, type ComposedGateway } from '../gateway/compose-gateway.ts';
import { countConnections } from '../connections/connection-registry.ts';
import { systemClock } from '../platform/clock.ts';
import type { Config } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import { createMetrics } from '../platform/metrics.ts';
import { createTemporalRefreshEngine } from '../platform/temporal-refresh-engine.ts';
import { composeWorker, type ComposedWorker } from '../worker/compose-worker.ts';
import { composeServices, type Services } from './compose-services.ts';
import type { BuildInfo } from '../gateway/routes/build.ts';

const msPerHour = 3_600_000;
const probeDeadlineMs = 2_000;

export interface AllInOne {
  gateway: ComposedGateway;
  services: Services;
  worker: ComposedWorker;
  /** Drains the gateway, then the worker, then closes the connections. */
  close(): Promise<void>;
}

/** Gateway and worker in one process over one NativeConnection, which allows eager Workflow start. */
export async function startAllInOne(given: {
  config: Config;
  log: Logger;
  build: BuildInfo;
  workflowBundlePath: string;
}): Promise<AllInOne> {
  const { config, log } = given;
  const metrics = createMetrics({ subsystem: config.subsystemName });
  const services = await composeServices({ config, log, metrics });
  metrics.collectConnections(() => countConnections(services.pool));
  const opened: { close(): Promise<void> }[] = [services];
  try {
    const connection = await NativeConnection.connect(config.temporal.connectionOptions());
    opened.unshift(connection);
    const client = new Client({ connection, namespace: config.temporal.namespace });
    const worker: ComposedWorker = await composeWorker({
      ...services,
      connection,
      client,
      workflowBundlePath: given.workflowBundlePath,
    });
    opened.unshift(worker);
    const gateway = await composeGateway({
      connections: services.connections,
      apps: services.apps,
      refreshEngine: createTemporalRefreshEngine({
        client,
        taskQueue: config.temporal.taskQueues.refresh,
        workflowExecutionTimeoutMs: config.temporal.refresh.workflowExecutionHours * msPerHour,
        requestEagerStart: true,
      }),
      clock: systemClock,
      databaseClock: services.databaseClock,
      log,
      metrics,
      build: given.build,
      logHttpRequests: config.log.httpRequests,
      host: config.http.host,
      port: config.http.port,
      metricsPort: config.metrics.port,
      checks: {
        postgres: () => services.pool.query('select 1'),
        temporal: () =>
          client.withDeadline(Date.now() + probeDeadlineMs, () =>
            client.workflowService.getSystemInfo({}),
          ),
      },
    });
    opened.unshift(gateway);
    return { gateway, services, worker, close: () => closeAll(opened) };
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

/** Newest first, so that nothing loses what it still uses. */
async function closeAll(opened: { close(): Promise<void> }[]): Promise<void> {
  for (const part of opened) await part.close();
}
