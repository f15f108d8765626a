import type { Config } from '../platform/config.ts';
import type { WorkerOptions } from './create-worker.ts';

const msPerSecond = 1_000;

/** What `worker` of temporal.config.json sets at a worker. */
export function tuneWorker({
  slots,
  pollers,
  shutdownGraceSeconds,
}: Config['temporal']['worker']): Pick<
  WorkerOptions,
  'activitySlots' | 'workflowTaskSlots' | 'pollers' | 'shutdownGraceMs'
> {
  return {
    activitySlots: slots.activities,
    workflowTaskSlots: slots.workflowTasks,
    pollers,
    shutdownGraceMs: msPerSecond * shutdownGraceSeconds,
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
