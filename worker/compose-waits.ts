import type { Client } from '@temporalio/client';
import { createWaitActivities, type WaitActivities } from '../activities/wait-activities.ts';
import type { ConnectionRegistry } from '../connections/registry.ts';
import { awaitFlight } from '../gateway/await-flight.ts';
import { createRefreshFlights } from '../gateway/refresh-flights.ts';
import type { ActivityCalls } from '../platform/activity-calls.ts';
import { systemClock } from '../platform/clock.ts';
import type { Config } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { createTemporalRefreshEngine } from '../platform/temporal-refresh-engine.ts';
import type { Tracer } from '../platform/tracer.ts';

const msPerHour = 3_600_000;

/** The Activity that waits on behalf of Workflows, sharing the waits of a connection as the gateway does. */
export function composeWaits(parts: {
  config: Config;
  log: Logger;
  metrics: Metrics;
  tracer: Tracer;
  connections: ConnectionRegistry;
  client: () => Client | undefined;
  currentCall: ActivityCalls['current'];
}): WaitActivities {
  const { taskQueues, refresh } = parts.config.temporal;
  const flights = createRefreshFlights({
    refreshEngine: createTemporalRefreshEngine({
      client: parts.client,
      taskQueue: taskQueues.refresh,
      workflowExecutionTimeoutMs: msPerHour * refresh.workflowExecutionHours,
      requestEagerStart: false,
      tracer: parts.tracer,
    }),
    onJoined: () => parts.metrics.refreshJoined.inc(),
  });
  return createWaitActivities({
    readConnection: (connectionId) => parts.connections.get(connectionId, null),
    awaitRefresh: (request, ms, signal) => awaitFlight(flights.join(request), { ms, signal }),
    clock: systemClock,
    currentCall: parts.currentCall,
    log: parts.log,
  });
}
