import { composeServices } from '../cli/compose-services.ts';
import { probeTemporal } from '../cli/gateway-of-services.ts';
import type { ProcessParts, RunningProcess } from '../cli/run-process.ts';
import { countConnections } from '../connections/connection-registry.ts';
import { createSweepStore } from '../connections/sweep-store.ts';
import { createMetrics } from '../platform/metrics.ts';
import { createMetricsServer } from '../platform/metrics-server.ts';
import { createReadiness, type CheckState } from '../platform/readiness.ts';
import { connectNatively } from '../platform/native-connection.ts';
import { installTemporalRuntime } from '../platform/temporal-runtime.ts';
import { composeWorker, type ComposedWorker } from './compose-worker.ts';

/**
 * The worker as a process of its own: METRICS_PORT serves `/metrics`, `/ping` and `/ready`. It waits for
 * PostgreSQL and for Temporal. Rejects for what waiting does not heal: a busy port, a key file.
 */
export async function startWorkerProcess(parts: ProcessParts): Promise<RunningProcess> {
  const { config, log, tracer, signal } = parts;
  const metrics = createMetrics({ subsystem: config.subsystemName });
  metrics.collectSdkMetrics(installTemporalRuntime(config, log));
  const services = await composeServices({ config, log, metrics, tracer });
  const { pool } = services;
  metrics.collectConnections(() => countConnections(pool));
  metrics.collectSweepLag(() => createSweepStore(pool).lagSeconds());
  let worker: ComposedWorker | undefined;

  async function checkPolling(): Promise<CheckState> {
    if (worker?.isPolling() === true) return probeTemporal(worker.client());
    if (worker?.isNamespaceMissing() === true) return 'namespace_not_found';
    throw new Error('the worker does not poll');
  }

  const readiness = createReadiness({
    checks: { postgres: () => pool.query('select 1'), temporal: checkPolling },
    required: ['postgres'],
  });
  const metricsServer =
    config.metrics.port === 0
      ? undefined
      : await createMetricsServer({
          host: config.http.host,
          port: config.metrics.port,
          metrics,
          readiness: readiness.current,
          log,
        });
  if (metricsServer !== undefined) log.info({ url: metricsServer.url }, 'metrics page listens');

  async function work(): Promise<void> {
    await services.prepare({ allowVolatile: parts.allowVolatileDatabase, signal });
    worker = composeWorker({
      ...services,
      connect: () => connectNatively(config.temporal),
      workflowBundlePath: parts.workflowBundlePath,
    });
    await worker.running;
  }

  return {
    failed: work(),
    async close() {
      readiness.drain();
      await worker?.close();
      await metricsServer?.close();
      readiness.close();
      await services.close();
    },
  };
}
