import type { Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import type { RefreshStep, SealedExchange } from '../activities/refresh-step.ts';
import { refreshWorkflowId } from '../client/contract.ts';

/**
 * Looks in the history of one run for tokens that its exchange could only seal. Empty if there are none
 * or the history is gone; rejects when Temporal cannot be asked.
 */
export function createSealedResults(dependencies: {
  client: () => Client | undefined;
  /** Whether an error is Temporal's answer that it does not know of such a run. */
  isNotFound: (error: unknown) => boolean;
}): (connectionId: string, workflowRunId: string) => Promise<SealedExchange[]> {
  return async (connectionId, workflowRunId) => {
    const client = dependencies.client();
    if (client === undefined) throw new Error('there is no connection to Temporal');
    const handle = client.workflow.getHandle(refreshWorkflowId(connectionId), workflowRunId);
    const history = await handle.fetchHistory().catch((error: unknown) => {
      // Histories are read without the client's own errors, so this is gRPC's.
      if (dependencies.isNotFound(error)) return undefined;
      throw error;
    });
    return (history?.events ?? []).flatMap((event) => {
      const [payload] = event.activityTaskCompletedEventAttributes?.result?.payloads ?? [];
      if (payload === undefined) return [];
      // Results of other Activities pass by here too; only an exchange that sealed has this shape.
      const step = defaultPayloadConverter.fromPayload<Partial<RefreshStep> | null>(payload);
      return step?.next === 'store' && step.sealed !== undefined ? [step.sealed] : [];
    });
  };
}
