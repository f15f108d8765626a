import { CancellationScope, createNexusServiceClient, executeChild } from '@temporalio/workflow';
import type {
  EnsureFreshInput,
  RefreshConnectionInput,
  RefreshResult,
} from '../../client/contract.ts';
import { tokenManagerService } from '../../client/nexus.ts';
import {
  ensureFresh,
  refreshConnectionWorkflowType,
  refreshWorkflowId,
  type EnsureFreshOptions,
} from '../../client/workflow.ts';

/*
 * Workflows of other teams, as a Worker of theirs runs them.
 */

export interface ParentInput {
  connectionId: string;
  options: EnsureFreshOptions;
}

export async function ensuresFresh({ connectionId, options }: ParentInput): Promise<RefreshResult> {
  return ensureFresh(connectionId, options);
}

/** Two waits of one parent, of which it gives one up after a second. */
export async function givesOneUp({ connectionId, options }: ParentInput): Promise<{
  givenUp: string;
  kept: RefreshResult;
}> {
  const kept = ensureFresh(connectionId, options);
  const givenUp = await CancellationScope.withTimeout(1_000, () =>
    ensureFresh(connectionId, options),
  ).then(
    () => 'a result',
    (error: unknown) => (error instanceof Error ? error.name : 'no error'),
  );
  return { givenUp, kept: await kept };
}

/** By the service definition alone. */
export async function ensuresUnchecked(
  endpoint: string,
  input: EnsureFreshInput,
): Promise<RefreshResult> {
  const service = createNexusServiceClient({ endpoint, service: tokenManagerService });
  return service.executeOperation('ensureFresh', input, { scheduleToCloseTimeout: '1 minute' });
}

/** As docs/workflows.md says of a single owner. */
export async function ownsRefresh({
  connectionId,
  taskQueue,
}: {
  connectionId: string;
  taskQueue: string;
}): Promise<RefreshResult | 'already started'> {
  try {
    return await executeChild<(input: RefreshConnectionInput) => Promise<RefreshResult>>(
      refreshConnectionWorkflowType,
      {
        workflowId: refreshWorkflowId(connectionId),
        taskQueue,
        args: [{ connectionId, trigger: 'workflow' }],
        parentClosePolicy: 'ABANDON',
      },
    );
  } catch (error) {
    // Its class is not among the exports of @temporalio/workflow.
    const name = error instanceof Error ? error.name : '';
    if (name === 'WorkflowExecutionAlreadyStartedError') return 'already started';
    throw error;
  }
}
