import { continueAsNew, proxyActivities, sleep } from '@temporalio/workflow';
import type { DeliverEventsInput } from '../activities/deliver-events.ts';
import type { DeliveryActivities } from '../activities/delivery-activities.ts';

/** About four hours of an idle endpoint; its history has some thousands of events by then. */
const turnsMax = 500;

const { deliverEvents: deliver } = proxyActivities<DeliveryActivities>({
  startToCloseTimeout: '60s',
  // A worker that died is noticed soon; what it was delivering is delivered again.
  heartbeatTimeout: '10s',
  // Unlimited: PostgreSQL comes back.
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' },
});

/**
 * Tells one webhook endpoint what happens, for as long as WEBHOOKS_FILE has it and it is not parked;
 * Workflow ID `deliver-events/<name>`, whose uniqueness gives an endpoint one sender. How far it has got,
 * and what is to be retried, lies in PostgreSQL, so a run may be terminated, reset or begun again at any time.
 */
export async function deliverEvents(input: DeliverEventsInput): Promise<'parked' | 'unknown'> {
  for (let turn = 0; turn < turnsMax; turn += 1) {
    const step = await deliver(input);
    if (step.next === 'end') return step.outcome;
    if (step.afterMs > 0) await sleep(step.afterMs);
  }
  return continueAsNew<typeof deliverEvents>(input);
}
