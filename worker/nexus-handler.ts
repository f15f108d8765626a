import { startWorkflow, WorkflowRunOperationHandler } from '@temporalio/nexus';
import { HandlerError, serviceHandler, type ServiceHandler } from 'nexus-rpc';
import {
  ensureFreshFault,
  ensureFreshWorkflowId,
  ensureFreshWorkflowType,
  type EnsureFreshInput,
  type RefreshResult,
} from '../client/contract.ts';
import { tokenManagerService } from '../client/nexus.ts';

type EnsureFreshWorkflow = (input: EnsureFreshInput) => Promise<RefreshResult>;

/**
 * Serves Workflows of other namespaces. An operation is backed by a run of `ensureFresh` of its own: one
 * backed by the shared run of a refresh would cancel it for everybody, and would answer with whatever that
 * run was started for. A start that Temporal repeats has the same request id, and meets its own run.
 */
export function createNexusHandler(options: {
  workflowExecutionTimeoutMs: number;
}): ServiceHandler {
  return serviceHandler(tokenManagerService, {
    ensureFresh: new WorkflowRunOperationHandler<EnsureFreshInput, RefreshResult>(
      (context, input) => {
        const fault = ensureFreshFault(input);
        if (fault !== undefined) throw new HandlerError('BAD_REQUEST', fault);
        return startWorkflow<EnsureFreshWorkflow>(context, ensureFreshWorkflowType, {
          workflowId: ensureFreshWorkflowId(input.connectionId, context.requestId),
          args: [input],
          workflowIdConflictPolicy: 'USE_EXISTING',
          workflowExecutionTimeout: options.workflowExecutionTimeoutMs,
          staticSummary: `Fresh token of ${input.connectionId}`,
        });
      },
    ),
  });
}
