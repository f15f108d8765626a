import type { Client } from '@temporalio/client';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import {
  maintenancePriority,
  revokeConnectionWorkflowType,
  revokeWorkflowId,
  TokenManagerError,
  type RevokeConnectionInput,
} from '../client/contract.ts';
import type { RevocationEngine } from '../gateway/revocation-engine.ts';

const startDeadlineMs = 5_000;
const retryAfterSeconds = 1;

const connectionIdKey = defineSearchAttributeKey('ConnectionId', SearchAttributeType.KEYWORD);

type Revoke = (input: RevokeConnectionInput) => Promise<void>;

/** Starts `revokeConnection` on the sweep Task Queue; a run that is there already goes on. */
export function createTemporalRevocationEngine(dependencies: {
  client: () => Client | undefined;
  taskQueue: string;
}): RevocationEngine {
  return {
    async start({ connectionId }) {
      const client = dependencies.client();
      if (client === undefined) throw unavailable(new Error('there is no connection to Temporal'));
      try {
        await client.withDeadline(Date.now() + startDeadlineMs, () =>
          client.workflow.start<Revoke>(revokeConnectionWorkflowType, {
            workflowId: revokeWorkflowId(connectionId),
            taskQueue: dependencies.taskQueue,
            args: [{ connectionId }],
            priority: { priorityKey: maintenancePriority.revocations },
            workflowIdConflictPolicy: 'USE_EXISTING',
            workflowIdReusePolicy: 'ALLOW_DUPLICATE',
            staticSummary: `Revoke ${connectionId} at its provider`,
            typedSearchAttributes: [{ key: connectionIdKey, value: connectionId }],
          }),
        );
      } catch (error) {
        throw unavailable(error);
      }
    },
  };
}

function unavailable(cause: unknown): TokenManagerError {
  return new TokenManagerError('refresh_engine_unavailable', { cause, retryAfterSeconds });
}
