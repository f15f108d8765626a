import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { Client } from '@temporalio/client';
import { composeServices } from '../cli/compose-services.ts';
import { composeGatewayOfServices } from '../cli/gateway-of-services.ts';
import type { ProcessParts, RunningProcess } from '../cli/run-process.ts';
import { createMetrics } from '../platform/metrics.ts';
import { createLazyTemporalConnection } from '../platform/temporal-connections.ts';

/**
 * V8 lets a heap on a large machine grow to several times what is in use before it clears it; by this, to a
 * fifth more. With a full cache that is 100 MB less, for a few hundredths of the CPU. Read at each collection.
 */
const heapGrowth = '--heap-growing-percent=20';

/** Once the requests are answered nothing else may keep the process: its time is spent. */
const closeLimitMs = 1_000;

/**
 * The gateway as a process of its own. It listens before PostgreSQL is there (`/ready` answers 503) and
 * serves fresh reads without Temporal. Rejects for what waiting does not heal: a busy port, a key file.
 */
export async function startGatewayProcess(parts: ProcessParts): Promise<RunningProcess> {
  const { config, log, tracer, signal } = parts;
  setFlagsFromString(heapGrowth);
  const metrics = createMetrics({ subsystem: config.subsystemName });
  const services = await composeServices({ config, log, metrics, tracer });
  const { namespace, address } = config.temporal;
  const connection = createLazyTemporalConnection(config.temporal);
  const client = new Client({ connection, namespace });
  const closeConnections = async (): Promise<void> => {
    await Promise.race([
      Promise.all([connection.close(), services.close()]),
      sleep(closeLimitMs, undefined, { ref: false }),
    ]);
  };
  try {
    const gateway = await composeGatewayOfServices(services, {
      build: parts.build,
      client: () => client,
      requestEagerStart: false,
    });
    const { url, metricsUrl } = gateway;
    log.info({ url, metrics_url: metricsUrl, temporal: address, namespace }, 'gateway listens');
    return {
      failed: services.prepare({ allowVolatile: parts.allowVolatileDatabase, signal }).then(() => {
        log.info('gateway serves: PostgreSQL is ready');
      }),
      async close() {
        await gateway.close();
        await closeConnections();
      },
    };
  } catch (error) {
    await closeConnections();
    throw error;
  }
}
