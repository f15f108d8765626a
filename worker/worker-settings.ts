import type { Config } from '../platform/config.ts';
import type { WorkerOptions } from './create-worker.ts';

const msPerSecond = 1_000;
const maintenanceSlots = 50;
const maintenanceGraceMs = 10_000;
/** A re-seal goes on from its newest heartbeat. */
const maintenanceHeartbeatMs = 1_000;
const sweepShareOfSlots = 0.5;
/** As of all slots, so that a provider that hangs leaves the sweep to the others. */
const appShareOfSweep = 0.25;

/** What `worker` of temporal.config.json sets at a worker. */
export function tuneWorker({
  slots,
  pollers,
  shutdownGraceSeconds,
}: Config['temporal']['worker']): Pick<
  WorkerOptions,
  'activitySlots' | 'workflowTaskSlots' | 'pollers' | 'shutdownGraceMs' | 'heartbeatEveryMs'
> {
  return {
    activitySlots: slots.activities,
    workflowTaskSlots: slots.workflowTasks,
    pollers,
    shutdownGraceMs: msPerSecond * shutdownGraceSeconds,
  };
}

/** Sweeps and revocations: few at once, and each may be cut off, for what they do is stored. */
export function tuneMaintenanceWorker(): ReturnType<typeof tuneWorker> {
  return {
    activitySlots: maintenanceSlots,
    workflowTaskSlots: maintenanceSlots,
    pollers: { initial: 2, minimum: 1, maximum: 10 },
    shutdownGraceMs: maintenanceGraceMs,
    heartbeatEveryMs: maintenanceHeartbeatMs,
  };
}

/** Those who wait hold nothing that ending them would lose: another worker takes their wait on at once. */
export function tuneWaitWorker({
  slots,
  pollers,
}: Config['temporal']['worker']): ReturnType<typeof tuneWorker> {
  return {
    activitySlots: slots.waitActivities,
    workflowTaskSlots: slots.workflowTasks,
    pollers,
    shutdownGraceMs: 0,
  };
}

/** How much of a worker's refreshes may be the sweep's. */
export function sweepLimits(
  { slots }: Config['temporal']['worker'],
  sweep: Config['temporal']['sweep'],
) {
  const openMax = Math.max(Math.floor(slots.activities * sweepShareOfSlots), 1);
  return {
    openMax,
    openOfAppMax: Math.max(Math.floor(openMax * appShareOfSweep), 1),
    startsPerSecond: sweep.startsPerSecond,
    startsPerSecondOfApp: sweep.startsPerSecondOfApp,
  };
}

/** Of a whole exchange, by rotation class, in milliseconds. */
export function exchangeDeadlinesMs({ deadlineSeconds }: Config['temporal']['refresh']) {
  return {
    S: msPerSecond * deadlineSeconds.S,
    L: msPerSecond * deadlineSeconds.L,
    T: msPerSecond * deadlineSeconds.T,
    C: msPerSecond * deadlineSeconds.C,
    X: msPerSecond * deadlineSeconds.X,
    F: msPerSecond * deadlineSeconds.F,
  };
}
