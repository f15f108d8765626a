import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import {
  resealWorkflowId,
  resealWorkflowType,
  type ResealConnectionsInput,
  type ResealProgress,
  type ResealSummary,
} from '../../client/contract.ts';

const startLimitMs = 10_000;
const pollMs = 1_000;
/** Below everything that anybody waits for. */
const lowestPriority = 5;

type Reseal = (input: ResealConnectionsInput) => Promise<ResealSummary>;

/** How the newest re-seal fares; undefined: there is none that Temporal remembers. */
export interface ResealStanding {
  workflowId: string;
  /** `RUNNING`, `COMPLETED`, `TERMINATED`… */
  status: string;
  /** Undefined until a worker has taken it. */
  progress: ResealProgress | undefined;
}

/** Starts the re-seal of this service, or finds the one that runs, which then keeps its own pace. */
export async function startReseal(
  temporal: Client,
  { sweepQueue, ...input }: ResealConnectionsInput & { sweepQueue: string },
): Promise<string> {
  const workflowId = resealWorkflowId(sweepQueue);
  await temporal.withDeadline(Date.now() + startLimitMs, () =>
    temporal.workflow.start<Reseal>(resealWorkflowType, {
      workflowId,
      taskQueue: sweepQueue,
      args: [input],
      workflowIdConflictPolicy: 'USE_EXISTING',
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      priority: { priorityKey: lowestPriority },
      staticSummary: 'Seal with the current data keys what retired ones have sealed',
    }),
  );
  return workflowId;
}

export async function readReseal(
  temporal: Client,
  sweepQueue: string,
): Promise<ResealStanding | undefined> {
  const workflowId = resealWorkflowId(sweepQueue);
  try {
    const { status, memo } = await temporal.withDeadline(Date.now() + startLimitMs, () =>
      temporal.workflow.getHandle(workflowId).describe(),
    );
    const progress = memo?.['progress'] as ResealProgress | undefined;
    return { workflowId, status: status.name, progress };
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}

/**
 * Tells of the progress until the re-seal ends, and goes on while Temporal is away. Throws if it did not
 * end by itself.
 */
export async function followReseal(
  temporal: Client,
  sweepQueue: string,
  tell: (standing: ResealStanding | 'away') => void,
): Promise<ResealSummary> {
  for (;;) {
    const standing = await readReseal(temporal, sweepQueue).catch(() => 'away' as const);
    if (standing === undefined) throw new Error('Temporal does not know the re-seal any more.');
    tell(standing);
    if (standing === 'away') {
      await sleep(pollMs);
      continue;
    }
    if (standing.status === 'COMPLETED') {
      return await temporal.workflow.getHandle<Reseal>(standing.workflowId).result();
    }
    if (standing.status !== 'RUNNING' && standing.status !== 'CONTINUED_AS_NEW') {
      throw new Error(
        `The re-seal ${standing.workflowId} was ${standing.status.toLowerCase()}: start it again ` +
          'with `token-manager keys reseal`; it goes on where it was.',
      );
    }
    await sleep(pollMs);
  }
}
