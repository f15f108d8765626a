import {
  ApplicationFailure,
  createNexusServiceClient,
  executeChild,
  uuid4,
} from '@temporalio/workflow';
import {
  ensureFreshFault,
  ensureFreshWorkflowId,
  ensureFreshWorkflowType,
  waitTaskQueueDefault,
  type EnsureFreshInput,
  type RefreshResult,
} from './contract.ts';
import { tokenManagerService } from './nexus.ts';

/** For `executeChild` by a single owner; what it cannot do is in docs/workflows.md. */
export { refreshConnectionWorkflowType, refreshWorkflowId } from './contract.ts';
export type {
  EnsureFreshInput,
  RefreshConnectionInput,
  RefreshOutcome,
  RefreshResult,
} from './contract.ts';

type EnsureFreshWorkflow = (input: EnsureFreshInput) => Promise<RefreshResult>;

export interface EnsureFreshOptions extends Omit<EnsureFreshInput, 'connectionId'> {
  /**
   * How long to wait at most; after it the call fails with a `TimeoutFailure` as its cause, and the refresh
   * goes on. Default 600,000: 10 minutes.
   */
  timeoutMs?: number;
  /** Of `taskQueues.wait` in temporal.config.json. Default `token-manager-wait`. */
  taskQueue?: string;
  /** The token manager is in another namespace, behind this Nexus endpoint. */
  nexusEndpoint?: string;
}

const timeoutDefaultMs = 600_000;

/**
 * In the Workflow that calls it: waits until the connection holds a token that satisfies the options, by
 * default one that is not due to be refreshed. Joins a refresh that is running, and starts one only where
 * it is needed. The result is a reference for your Activity to read the token by, never a token.
 *
 * What became of the connection is the `outcome`: after `refreshed` and `already_fresh` there is a token
 * that satisfies. Each call is a child of its own (or a Nexus operation): cancelling it, or the end of
 * its parent, ends no refresh and nobody else's wait.
 *
 * @throws ApplicationFailure `input_validation`, not retryable, for an id or a number that cannot be.
 * @throws ChildWorkflowFailure (NexusOperationFailure) after `timeoutMs`, when it is cancelled, and for a
 * version that was never handed out.
 */
export async function ensureFresh(
  connectionId: string,
  options: EnsureFreshOptions = {},
): Promise<RefreshResult> {
  const { timeoutMs = timeoutDefaultMs, taskQueue = waitTaskQueueDefault, nexusEndpoint } = options;
  const input = inputOf(connectionId, options);
  const fault = ensureFreshFault(input);
  if (fault !== undefined) throw ApplicationFailure.nonRetryable(fault, 'input_validation');
  const summary = `Fresh token of ${connectionId}`;
  if (nexusEndpoint !== undefined) {
    const tokenManager = createNexusServiceClient({
      endpoint: nexusEndpoint,
      service: tokenManagerService,
    });
    return tokenManager.executeOperation('ensureFresh', input, {
      scheduleToCloseTimeout: timeoutMs,
      // There is nothing to wait for: what was asked for is nobody's but the caller's.
      cancellationType: 'WAIT_CANCELLATION_REQUESTED',
      summary,
    });
  }
  return executeChild<EnsureFreshWorkflow>(ensureFreshWorkflowType, {
    // Deterministic, and another one after a reset, when the child of before may still be there.
    workflowId: ensureFreshWorkflowId(connectionId, uuid4()),
    taskQueue,
    args: [input],
    workflowExecutionTimeout: timeoutMs,
    parentClosePolicy: 'ABANDON',
    cancellationType: 'WAIT_CANCELLATION_REQUESTED',
    staticSummary: summary,
  });
}

function inputOf(connectionId: string, options: EnsureFreshOptions): EnsureFreshInput {
  const { minTtlSeconds, newerThan, rejectedTokenVersion } = options;
  return {
    connectionId,
    ...(minTtlSeconds !== undefined && { minTtlSeconds }),
    ...(newerThan !== undefined && { newerThan }),
    ...(rejectedTokenVersion !== undefined && { rejectedTokenVersion }),
  };
}
