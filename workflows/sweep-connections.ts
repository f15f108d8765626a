import { proxyActivities } from '@temporalio/workflow';
import type { MaintenanceActivities } from '../activities/maintenance.ts';
import type { SweepSummary } from '../activities/sweep-due.ts';
import type { TidyUpSummary } from '../activities/tidy-up.ts';
import { maintenancePriority } from '../client/contract.ts';

/** Waiting heals whatever stands against a sweep: the store, or Temporal itself. */
const retry = { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' } as const;

/** Of the Activities, for a Schedule gives its Workflow none. */
const priority = { priorityKey: maintenancePriority.sweep };

const { tidyUp } = proxyActivities<MaintenanceActivities>({
  startToCloseTimeout: '2m',
  retry,
  priority,
});
const { sweepDue } = proxyActivities<MaintenanceActivities>({
  startToCloseTimeout: '6m',
  heartbeatTimeout: '30s',
  retry,
  priority,
});

/**
 * Started by a Schedule that skips a turn while one runs. What is due is in PostgreSQL, and each
 * connection that is claimed comes back by itself if its start is lost.
 */
export async function sweepConnections(): Promise<TidyUpSummary & SweepSummary> {
  const tidied = await tidyUp();
  return { ...tidied, ...(await sweepDue()) };
}
