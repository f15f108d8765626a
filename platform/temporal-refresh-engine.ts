import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  WorkflowFailedError,
  type Client,
  type WorkflowHandleWithFirstExecutionRunId,
} from '@temporalio/client';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import {
  refreshConnectionWorkflowType,
  refreshWorkflowId,
  TokenManagerError,
  type RefreshConnectionInput,
  type RefreshResult,
  type RefreshTrigger,
} from '../client/contract.ts';
import type { RefreshEngine } from '../gateway/refresh-engine.ts';
import { withRefreshHeaders } from './refresh-headers.ts';
import { createStartLine } from './start-line.ts';
import type { Tracer } from './tracer.ts';

type RefreshRequest = Parameters<RefreshEngine['refresh']>[0];

const startDeadlineMs = 5_000;
/** More at once would wait for Temporal rather than here, each with its deadline running. */
const startsAtOnceMax = 32;
const interactivePriority = 2;
const retryAfterSeconds = 1;
/** Between looks at a run whose result is awaited: doubling from the first to the second. */
const lookFirstDefaultMs = 2_000;
const lookMaxMs = 5_000;
const fairnessKeyMaxBytes = 64;

const connectionIdKey = defineSearchAttributeKey('ConnectionId', SearchAttributeType.KEYWORD);
const tenantIdKey = defineSearchAttributeKey('TenantId', SearchAttributeType.KEYWORD);
const providerKey = defineSearchAttributeKey('Provider', SearchAttributeType.KEYWORD);
const triggerKey = defineSearchAttributeKey('RefreshTrigger', SearchAttributeType.KEYWORD);

type Refresh = (input: RefreshConnectionInput) => Promise<RefreshResult>;
type RefreshHandle = WorkflowHandleWithFirstExecutionRunId<Refresh>;

/**
 * The gateway's port to Temporal: start with USE_EXISTING, then the result of exactly that run.
 * `execute()` would await the latest run, and Update-with-Start admits ten callers a run.
 */
export function createTemporalRefreshEngine(dependencies: {
  /** The client in use, for connections may be replaced; undefined while there is none. */
  client: () => Client | undefined;
  taskQueue: string;
  /** Frees a Workflow ID that is stuck. */
  workflowExecutionTimeoutMs: number;
  /** Only where client and worker share one NativeConnection. */
  requestEagerStart: boolean;
  tracer: Tracer;
  /** Differs only where there is no real client. */
  withHeaders?: typeof withRefreshHeaders;
  /** Only tests change it. */
  lookFirstMs?: number;
}): RefreshEngine {
  const { withHeaders = withRefreshHeaders, lookFirstMs = lookFirstDefaultMs } = dependencies;
  const line = createStartLine(startsAtOnceMax);

  async function start(client: Client, request: RefreshRequest): Promise<RefreshHandle> {
    const span = dependencies.tracer.start(`StartWorkflow:${refreshConnectionWorkflowType}`, {
      kind: 'producer',
      parent: request.traceparent,
    });
    try {
      const handle = await startTraced(client, request, span.traceparent);
      span.end({ attributes: { 'temporal.run_id': handle.firstExecutionRunId } });
      return handle;
    } catch (error) {
      span.end({ isError: true });
      throw error;
    }
  }

  function startTraced(
    client: Client,
    request: RefreshRequest,
    traceparent: string,
  ): Promise<RefreshHandle> {
    const { connectionId, tenantId, provider, newerThan, trigger, requestedAt } = request;
    const starter = withHeaders(client, { traceparent, requestedAt });
    return starter.start<Refresh>(refreshConnectionWorkflowType, {
      workflowId: refreshWorkflowId(connectionId),
      taskQueue: dependencies.taskQueue,
      args: [{ connectionId, newerThan, trigger }],
      workflowIdConflictPolicy: 'USE_EXISTING',
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      followRuns: false,
      workflowExecutionTimeout: dependencies.workflowExecutionTimeoutMs,
      // An eager start would pass by those who wait in the Task Queue before it.
      requestEagerStart: dependencies.requestEagerStart && trigger !== 'sweep',
      priority: { priorityKey: priorityOf(trigger), fairnessKey: fairnessKeyOf(tenantId) },
      staticSummary: `Refresh ${connectionId} at ${provider}: ${trigger}, newer than version ${newerThan}`,
      typedSearchAttributes: [
        { key: connectionIdKey, value: connectionId },
        { key: tenantIdKey, value: tenantId },
        { key: providerKey, value: provider },
        { key: triggerKey, value: trigger },
      ],
    });
  }

  /** The deadline counts from the turn of a start: before it nothing was asked of Temporal. */
  function startInTime(client: Client, request: RefreshRequest): Promise<RefreshHandle> {
    return until(AbortSignal.timeout(startDeadlineMs), () =>
      client.withDeadline(Date.now() + startDeadlineMs, () => start(client, request)),
    );
  }

  return {
    async refresh(request, signal, onStarted) {
      const client = dependencies.client();
      if (client === undefined) throw unavailable(new Error('there is no connection to Temporal'));
      try {
        const isAwaited = priorityOf(request.trigger) <= interactivePriority;
        const handle = await until(signal, () =>
          line.run(() => startInTime(client, request), { isAwaited, signal }),
        );
        onStarted?.();
        return await until(signal, () =>
          client.withAbortSignal(signal, () => resultOf(handle, signal, lookFirstMs)),
        );
      } catch (error) {
        signal.throwIfAborted();
        // Terminated, reset or timed out: what is stored decides, and the caller may start another.
        if (error instanceof WorkflowFailedError) return undefined;
        throw unavailable(error);
      }
    },
  };
}

/** What callers wait for goes before what nobody waits for yet; 1 to 5, the lower the sooner. */
function priorityOf(trigger: RefreshTrigger): number {
  switch (trigger) {
    case 'sweep':
      return 4;
    case 'background':
    case 'probe':
      return 3;
    case 'read':
    case 'force':
    case 'rejected':
    case 'workflow':
      return interactivePriority;
  }
}

/** Of those who wait with one priority, tenants take turns. A key has 64 bytes at most. */
function fairnessKeyOf(tenantId: string): string {
  if (tenantId.length <= fairnessKeyMaxBytes) return tenantId;
  return createHash('sha256').update(tenantId).digest('hex');
}

/**
 * The result of the handle's run. Temporal now and then does not wake the long poll for it when the run
 * closes (seen once in a thousand runs), and answers when the 20 seconds of the poll are over; so the
 * run is looked at as well.
 */
async function resultOf(
  handle: RefreshHandle,
  signal: AbortSignal,
  lookFirstMs: number,
): Promise<RefreshResult> {
  const arrived = new AbortController();
  const polled = handle.result().finally(() => arrived.abort());
  const watch = AbortSignal.any([signal, arrived.signal]);
  // A poll for the result of a run that is closed is answered at once.
  const asked = isSeenClosed(handle, watch, lookFirstMs).then((isClosed) =>
    isClosed ? handle.result() : polled,
  );
  return Promise.race([polled, asked]);
}

/** Looks at the run until it is closed; false once the signal is aborted. */
async function isSeenClosed(
  handle: RefreshHandle,
  signal: AbortSignal,
  lookFirstMs: number,
): Promise<boolean> {
  for (let pauseMs = lookFirstMs; ; pauseMs = Math.min(2 * pauseMs, lookMaxMs)) {
    try {
      await sleep(pauseMs, undefined, { signal });
    } catch {
      return false;
    }
    // That Temporal is away is for the poll itself to tell.
    const seen = await handle.describe().catch(() => undefined);
    const isOpen = seen?.status.name === 'RUNNING' && seen.runId === handle.firstExecutionRunId;
    if (seen !== undefined && !isOpen) return true;
  }
}

/**
 * Rejects with the signal's reason once it is aborted, whatever becomes of the work. Deadlines alone do
 * not do: the retries of either kind of connection overrun them by seconds, and a NativeConnection
 * knows no abort.
 */
async function until<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
  }
}

function unavailable(cause: unknown): TokenManagerError {
  return new TokenManagerError('refresh_engine_unavailable', { cause, retryAfterSeconds });
}
