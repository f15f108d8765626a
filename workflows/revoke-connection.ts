import { continueAsNew, proxyActivities, sleep } from '@temporalio/workflow';
import type { MaintenanceActivities } from '../activities/maintenance.ts';
import type { RevokeConnectionInput } from '../client/contract.ts';

/** Keeps the history short: the provider of a long outage is asked once an hour at last. */
const roundsMax = 200;
/** Between two rounds, however soon the next one is due. */
const pauseMinMs = 100;

const { revokeTokens } = proxyActivities<MaintenanceActivities>({
  startToCloseTimeout: '3m',
  heartbeatTimeout: '10s',
  // Unlimited: what is to be revoked is stored, and a round may be repeated.
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '1m' },
});

/**
 * Ends a deleted connection at its provider; Workflow ID `revoke/<connection id>`. What is to be done is
 * in PostgreSQL, so that a run that was lost can be started again at any time. Ends when every token is
 * revoked, or given up after 7 days.
 */
export async function revokeConnection({ connectionId }: RevokeConnectionInput): Promise<void> {
  for (let round = 1; round <= roundsMax; round += 1) {
    const step = await revokeTokens({ connectionId });
    if (step.next === 'end') return;
    await sleep(Math.max(step.afterMs, pauseMinMs));
  }
  await continueAsNew<typeof revokeConnection>({ connectionId });
}
