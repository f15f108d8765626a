import { DefaultLogger, Runtime, type LogLevel } from '@temporalio/worker';
import type { Logger } from './log.ts';

/**
 * Sets up the Temporal SDK of this process, once and before any connection: its log lines go into ours,
 * and signals stay with whoever composes the process.
 */
export function installTemporalRuntime(log: Logger): void {
  const sdkLog = log.child({ component: 'temporal-sdk' });
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      // While Temporal is away every poller reports every try; /ready and the supervisor tell it once.
      const isRetry = meta?.['target'] === 'temporalio_client::retry';
      methodOf(sdkLog, isRetry ? 'DEBUG' : level)(meta ?? {}, message);
    }),
    telemetryOptions: { logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} } },
  });
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
