import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { startAllInOne } from '../cli/all-in-one.ts';
import type { AppRegistry, ConnectionRegistry } from '../connections/registry.ts';
import { serveProfiles } from '../cli/serve-profiles.ts';
import type { BuildInfo } from '../gateway/routes/build.ts';
import type { Config } from '../platform/config.ts';
import { createLogger } from '../platform/log.ts';
import { loadTracer } from '../platform/otel-tracer.ts';
import { installTemporalRuntime } from '../platform/temporal-runtime.ts';

const distFolder = join(import.meta.dirname, '..');

export interface RunningService {
  url: string;
  /** Undefined when METRICS_PORT is 0. */
  metricsUrl: string | undefined;
  /** Undefined when PPROF_PORT is 0 or there are no profiles on this platform. */
  pprofUrl: string | undefined;
  apps: AppRegistry;
  connections: ConnectionRegistry;
  /** Resolves with a readable reason when the worker has ended, wanted or not. */
  ended: Promise<string>;
  /** Drains the gateway, then the worker. */
  stop(): Promise<void>;
}

/** Gateway and worker in this process, as built into dist/. */
export async function startService(config: Config): Promise<RunningService> {
  const log = createLogger({
    subsystem: config.subsystemName,
    level: config.log.level,
    pretty: true,
  });
  for (const warning of config.warnings) log.warn(warning);
  const sdkMeasurements = installTemporalRuntime(config, log);
  const tracer = await loadTracer(config, log);
  const profiles = await serveProfiles(config, log);
  const service = await startAllInOne({
    config,
    log,
    sdkMeasurements,
    tracer,
    build: JSON.parse(readFileSync(join(distFolder, 'build-info.json'), 'utf8')) as BuildInfo,
    workflowBundlePath: join(distFolder, 'worker', 'workflow-bundle.js'),
    allowVolatileDatabase: true,
  });
  return {
    url: service.gateway.url,
    metricsUrl: service.gateway.metricsUrl,
    pprofUrl: profiles?.url,
    apps: service.services.apps,
    connections: service.services.connections,
    ended: service.worker.running.then(
      () => 'The worker has ended.',
      (error: unknown) => `The worker has failed: ${error instanceof Error ? error.message : '?'}`,
    ),
    async stop() {
      await service.close();
      await tracer.close();
      await profiles?.close();
    },
  };
}
