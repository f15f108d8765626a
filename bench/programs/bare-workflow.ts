import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Worker } from '@temporalio/worker';
import { programArgument, serveCalls } from '../child-calls.ts';

/*
 * The limit of a refresh: Workflows with one Activity that does nothing, started and awaited over the
 * connection that their Worker polls by, eagerly as our service in one process does it.
 */

export interface BareWorkflowOptions {
  address: string;
  namespace: string;
}

export interface BareWorkflow {
  /** So many runs by so many callers, each of whom starts the next as soon as one has ended. */
  run(options: {
    count: number;
    callers: number;
  }): Promise<{ elapsedMs: number; latenciesMs: number[] }>;
}

const taskQueue = 'bench-bare';
const pollers = { type: 'autoscaling', initial: 5, minimum: 1, maximum: 100 } as const;

const { address, namespace } = programArgument() as BareWorkflowOptions;
const connection = await NativeConnection.connect({ address });
const worker = await Worker.create({
  connection,
  namespace,
  taskQueue,
  workflowBundle: await bundleWorkflowCode({
    workflowsPath: join(import.meta.dirname, 'noop-workflow.ts'),
    logger: new DefaultLogger('ERROR'),
  }),
  activities: { noop: () => Promise.resolve() },
  workflowTaskPollerBehavior: pollers,
  activityTaskPollerBehavior: pollers,
});
void worker.run();
const client = new Client({ connection, namespace });

async function runOnce(): Promise<number> {
  const startedAtMs = performance.now();
  const handle = await client.workflow.start('noopWorkflow', {
    workflowId: `bare/${randomUUID()}`,
    taskQueue,
    requestEagerStart: true,
  });
  await handle.result();
  return performance.now() - startedAtMs;
}

const methods: BareWorkflow = {
  async run({ count, callers }) {
    const latenciesMs: number[] = [];
    const beganAtMs = performance.now();
    let left = count;
    const caller = async () => {
      while (left > 0) {
        left -= 1;
        latenciesMs.push(await runOnce());
      }
    };
    await Promise.all(Array.from({ length: callers }, caller));
    return { elapsedMs: performance.now() - beganAtMs, latenciesMs };
  },
};

serveCalls({ ...methods });
