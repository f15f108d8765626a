import type { BuildInfo } from '../gateway/routes/build.ts';
import type { Config } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import { createMetrics, type SdkMeasurements } from '../platform/metrics.ts';
import { createIdTracer, type Tracer } from '../platform/tracer.ts';
import { connectNatively } from '../platform/native-connection.ts';
import { installTemporalRuntime } from '../platform/temporal-runtime.ts';
import { composeWorker, type ComposedWorker } from '../worker/compose-worker.ts';
import { composeServices, type Services } from './compose-services.ts';
import {
  composeGatewayOfServices,
  probeTemporal,
  type GatewayOfServices,
} from './gateway-of-services.ts';
import type { ProcessParts, RunningProcess } from './run-process.ts';

export interface AllInOne {
  gateway: GatewayOfServices;
  services: Services;
  worker: ComposedWorker;
  /** Drains the gateway, then the worker, then closes the connections. */
  close(): Promise<void>;
}

/**
 * Gateway and worker in one process over one NativeConnection, which allows eager Workflow start. Waits
 * for PostgreSQL; without Temporal it serves, and refreshes once Temporal is there.
 */
export async function startAllInOne(given: {
  config: Config;
  log: Logger;
  build: BuildInfo;
  workflowBundlePath: string;
  /** Only for npm start and the tests: a PostgreSQL that may forget commits. */
  allowVolatileDatabase: boolean;
  /** Absent: nothing is recorded. */
  tracer?: Tracer;
  /** Absent where the SDK of the process is set up by somebody else. */
  sdkMeasurements?: SdkMeasurements;
  /** Ends the waiting for PostgreSQL. */
  signal?: AbortSignal;
}): Promise<AllInOne> {
  const { config, log, build, signal = new AbortController().signal } = given;
  const { tracer = createIdTracer() } = given;
  const metrics = createMetrics({ subsystem: config.subsystemName });
  if (given.sdkMeasurements !== undefined) metrics.collectSdkMetrics(given.sdkMeasurements);
  const services = await composeServices({ config, log, metrics, tracer });
  const opened: { close(): Promise<void> }[] = [services];
  try {
    await services.prepare({ allowVolatile: given.allowVolatileDatabase, signal });
    const worker = composeWorker({
      ...services,
      connect: () => connectNatively(config.temporal),
      workflowBundlePath: given.workflowBundlePath,
    });
    opened.unshift(worker);
    await worker.firstAttempt;
    const gateway = await composeGatewayOfServices(services, {
      build,
      client: worker.client,
      requestEagerStart: true,
      probe: () =>
        worker.isNamespaceMissing()
          ? Promise.resolve('namespace_not_found')
          : probeTemporal(worker.client()),
    });
    opened.unshift(gateway);
    return { gateway, services, worker, close: () => closeAll(opened) };
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

/** The same as a process of its own, as runProcess runs it. */
export async function startAllInOneProcess(parts: ProcessParts): Promise<RunningProcess> {
  const { config, log } = parts;
  const sdkMeasurements = installTemporalRuntime(config, log);
  const allInOne = await startAllInOne({ ...parts, sdkMeasurements });
  const { url, metricsUrl } = allInOne.gateway;
  log.info({ url, metrics_url: metricsUrl }, 'gateway listens');
  return { failed: allInOne.worker.running, close: () => allInOne.close() };
}

/** Newest first, so that nothing loses what it still uses. */
async function closeAll(opened: { close(): Promise<void> }[]): Promise<void> {
  for (const part of opened) await part.close();
}
