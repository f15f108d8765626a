import {
  Worker,
  type ActivityInterceptorsFactory,
  type NativeConnection,
} from '@temporalio/worker';
import type { DeliveryActivities } from '../activities/delivery-activities.ts';
import type { Activities } from '../activities/index.ts';
import type { MaintenanceActivities } from '../activities/maintenance.ts';
import type { WaitActivities } from '../activities/wait-activities.ts';
import type { ServiceHandler } from 'nexus-rpc';

/** Two seconds instead of ten: how long a run waits for the worker that died with its state. */
const stickyScheduleToStartMs = 2_000;
/** After the grace the process ends, whatever still hangs. */
const shutdownForceSlackMs = 5_000;

export interface WorkerOptions {
  connection: NativeConnection;
  namespace: string;
  taskQueue: string;
  /** Path of the prebuilt Workflow bundle. */
  workflowBundlePath: string;
  activities: Activities | WaitActivities | (MaintenanceActivities & DeliveryActivities);
  /** Absent: none. */
  nexusServices?: ServiceHandler[];
  activityInterceptors: ActivityInterceptorsFactory;
  activitySlots: number;
  workflowTaskSlots: number;
  pollers: { initial: number; minimum: number; maximum: number };
  /** Above the longest provider deadline, so that a deploy never aborts a call in flight. */
  shutdownGraceMs: number;
  /** How often a heartbeat is sent at most; the SDK's 80 % of the timeout unless told. */
  heartbeatEveryMs?: number;
}

/** The worker of one Task Queue, not running yet. */
export function createWorker(options: WorkerOptions): Promise<Worker> {
  const pollerBehavior = {
    type: 'autoscaling',
    initial: options.pollers.initial,
    minimum: options.pollers.minimum,
    maximum: options.pollers.maximum,
  } as const;
  return Worker.create({
    connection: options.connection,
    namespace: options.namespace,
    taskQueue: options.taskQueue,
    workflowBundle: { codePath: options.workflowBundlePath },
    activities: options.activities,
    ...(options.nexusServices !== undefined && { nexusServices: options.nexusServices }),
    interceptors: { activity: [options.activityInterceptors] },
    maxConcurrentActivityTaskExecutions: options.activitySlots,
    maxConcurrentWorkflowTaskExecutions: options.workflowTaskSlots,
    workflowTaskPollerBehavior: pollerBehavior,
    activityTaskPollerBehavior: pollerBehavior,
    stickyQueueScheduleToStartTimeout: stickyScheduleToStartMs,
    ...(options.heartbeatEveryMs !== undefined && {
      maxHeartbeatThrottleInterval: options.heartbeatEveryMs,
    }),
    shutdownGraceTime: options.shutdownGraceMs,
    shutdownForceTime: options.shutdownGraceMs + shutdownForceSlackMs,
  });
}
