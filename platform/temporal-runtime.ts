import {
  DefaultLogger,
  MetricsBuffer,
  Runtime,
  type LogLevel,
  type LogMetadata,
} from '@temporalio/worker';
import type { Config } from './config.ts';
import type { Logger } from './log.ts';
import type { SdkMeasurements } from './metrics.ts';
import { describeSdkMeta } from './sdk-log-fields.ts';

/** Some two thousand refreshes; what comes above it before it is taken is dropped. */
const bufferedMeasurementsMax = 100_000;

/**
 * Sets up the Temporal SDK of this process, once and before any connection: its log lines go into ours,
 * signals stay with whoever composes the process, and what it measures is taken by what is returned.
 * METRICS_PORT 0: nothing is measured.
 */
export function installTemporalRuntime(
  config: Pick<Config, 'metrics' | 'log'>,
  log: Logger,
): SdkMeasurements {
  const sdkLog = log.child({ component: 'temporal-sdk' });
  const buffer =
    config.metrics.port === 0
      ? undefined
      : new MetricsBuffer({
          maxBufferSize: bufferedMeasurementsMax,
          useSecondsForDurations: true,
        });
  const isVerbose = config.log.level === 'debug' || config.log.level === 'trace';
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger(isVerbose ? 'DEBUG' : 'INFO', ({ level, message, meta = {} }) => {
      methodOf(sdkLog, quieted(level, meta))(describeSdkMeta(meta), message);
    }),
    telemetryOptions: {
      logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} },
      ...(buffer !== undefined && { metrics: { buffer } }),
    },
  });
  return () => buffer?.retrieveUpdates() ?? [];
}

/** Of what the SDK says, only what Workflow and Activity code logs is news at INFO. */
function quieted(level: LogLevel, meta: LogMetadata): LogLevel {
  // While Temporal is away every poller reports every try; /ready and the supervisor tell it once.
  if (meta['target'] === 'temporalio_client::retry') return 'DEBUG';
  const isOurs = meta['sdkComponent'] === 'workflow' || meta['sdkComponent'] === 'activity';
  return level === 'INFO' && !isOurs ? 'DEBUG' : level;
}

function methodOf(log: Logger, level: LogLevel): Logger['info'] {
  switch (level) {
    case 'TRACE':
    case 'DEBUG':
      return log.debug.bind(log);
    case 'INFO':
      return log.info.bind(log);
    case 'WARN':
      return log.warn.bind(log);
    case 'ERROR':
      return log.error.bind(log);
  }
}
