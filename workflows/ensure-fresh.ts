import {
  ActivityCancellationType,
  ApplicationFailure,
  continueAsNew,
  proxyActivities,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { Arrival } from '../activities/await-fresh-token.ts';
import type { WaitActivities } from '../activities/wait-activities.ts';
import { ensureFreshFault, type EnsureFreshInput, type RefreshResult } from '../client/contract.ts';

const fairnessKeyMaxLength = 64;

/**
 * Waits until the connection holds a token that satisfies the demand, on behalf of another Workflow; a run
 * for each call, on a Task Queue where nothing refreshes, so that waiting takes no slot from refreshing.
 * Cancelling it ends this wait and nothing else. Business outcomes are results.
 */
export async function ensureFresh(
  input: EnsureFreshInput & { arrival?: Arrival | null },
): Promise<RefreshResult> {
  const fault = ensureFreshFault(input);
  if (fault !== undefined) throw ApplicationFailure.nonRetryable(fault, 'input_validation');
  const { awaitFreshToken } = proxyActivities<WaitActivities>({
    startToCloseTimeout: '30s',
    // A worker that died is noticed soon; one that ends in good order says so itself.
    heartbeatTimeout: '10s',
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    // Unlimited: PostgreSQL comes back.
    retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '15s' },
    // A thousand who wait for one connection let those of the others through.
    priority: { fairnessKey: input.connectionId.slice(-fairnessKeyMaxLength) },
  });
  let arrival = input.arrival ?? null;
  while (!workflowInfo().continueAsNewSuggested) {
    const step = await awaitFreshToken({ ...input, arrival });
    if (step.next === 'end') return step.result;
    ({ arrival } = step);
    if (step.afterMs > 0) await sleep(step.afterMs);
  }
  return continueAsNew<typeof ensureFresh>({ ...input, arrival });
}
