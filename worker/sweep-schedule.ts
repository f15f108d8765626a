import {
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  type Client,
  type ScheduleOptions,
} from '@temporalio/client';
import { sweepWorkflowType } from '../client/contract.ts';

/** A sweep that ran over its time, or that nobody took, is not made up for: the next one does it all. */
const catchupWindowMs = 60_000;

interface SweepSchedule {
  /** Of the sweep; its Schedule is named after it, so that two services share a namespace. */
  taskQueue: string;
  everySeconds: number;
  isEnabled: boolean;
}

export function sweepScheduleId(taskQueue: string): string {
  return `sweep/${taskQueue}`;
}

/**
 * Brings the one Schedule of the sweep to what this worker is configured for; every worker does so at its
 * start, and the last one counts. Where the sweep is off, a Schedule that is there is paused.
 */
export async function ensureSweepSchedule(client: Client, sweep: SweepSchedule): Promise<void> {
  const handle = client.schedule.getHandle(sweepScheduleId(sweep.taskQueue));
  if (!sweep.isEnabled) {
    try {
      await handle.pause('sweep.enabled is false in temporal.config.json');
    } catch (error) {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
    }
    return;
  }
  const options = scheduleOptions(sweep);
  try {
    await client.schedule.create(options);
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    await handle.update((found) => ({ ...found, ...options, state: { ...found.state } }));
  }
}

function scheduleOptions({ taskQueue, everySeconds }: SweepSchedule) {
  return {
    scheduleId: sweepScheduleId(taskQueue),
    spec: { intervals: [{ every: everySeconds * 1_000 }] },
    policies: { overlap: 'SKIP', catchupWindow: catchupWindowMs },
    action: {
      type: 'startWorkflow',
      workflowType: sweepWorkflowType,
      workflowId: `sweep-${taskQueue}`,
      taskQueue,
      args: [],
      staticSummary: 'Refresh what is due, restart what was lost',
    },
  } satisfies ScheduleOptions;
}
