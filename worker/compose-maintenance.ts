import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import {
  createMaintenanceActivities,
  type MaintenanceActivities,
} from '../activities/maintenance.ts';
import type { RevocationDependencies } from '../activities/revocation-requests.ts';
import { createRevocationStore } from '../connections/revocation-store.ts';
import { createResealStore } from '../connections/reseal-store.ts';
import type { Queryable } from '../connections/store-query.ts';
import { createSweepStore } from '../connections/sweep-store.ts';
import { systemClock } from '../platform/clock.ts';
import type { Config } from '../platform/config.ts';
import { createTemporalRefreshEngine } from '../platform/temporal-refresh-engine.ts';
import { createTemporalRevocationEngine } from '../platform/temporal-revocation-engine.ts';
import type { Tracer } from '../platform/tracer.ts';
import type { DataKeyStore } from '../vault/data-key-store.ts';
import { sweepLimits } from './worker-settings.ts';

const msPerHour = 3_600_000;

/** The Activities of sweeps and revocations, wired to their stores and to the refreshes they start. */
export function composeMaintenance(parts: {
  config: Config;
  pool: Queryable;
  dataKeys: DataKeyStore;
  tracer: Tracer;
  client: () => Client | undefined;
  /** What they share with refreshes. */
  shared: Omit<RevocationDependencies, 'revocations' | 'clock' | 'random' | 'randomUuid'>;
  /** Aborted when the process is about to end. */
  stopping: AbortSignal;
}): MaintenanceActivities {
  const { config, pool, client } = parts;
  const { taskQueues, refresh, worker, sweep } = config.temporal;
  const revocationEngine = createTemporalRevocationEngine({ client, taskQueue: taskQueues.sweep });
  return createMaintenanceActivities({
    ...parts.shared,
    revocations: createRevocationStore(pool),
    sweep: createSweepStore(pool),
    sealedRows: createResealStore(pool),
    dataKeys: parts.dataKeys,
    refreshes: createTemporalRefreshEngine({
      client,
      taskQueue: taskQueues.refresh,
      workflowExecutionTimeoutMs: msPerHour * refresh.workflowExecutionHours,
      requestEagerStart: false,
      tracer: parts.tracer,
    }),
    startRevocation: (connection) => revocationEngine.start(connection),
    limits: sweepLimits(worker, sweep),
    retentionMs: config.temporal.retentionMs,
    clock: systemClock,
    random: Math.random,
    randomUuid: randomUUID,
    sleep: (ms) => sleep(ms),
    stopping: parts.stopping,
  });
}
