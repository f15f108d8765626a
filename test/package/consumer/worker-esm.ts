// Run with where Temporal and the token manager are: prints what Workflows of a Worker of their own get.
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { tokenManagerService } from 'token-manager/nexus';
import { refreshWorkflowId } from 'token-manager/workflow';
import type { waits, waitsByOperation } from './workflows.js';

const [, , address = '', namespace = '', waitQueue = '', endpoint = '', connectionId = ''] =
  process.argv;
const connection = await NativeConnection.connect({ address });
const taskQueue = `consumer-${connectionId}`;
const worker = await Worker.create({
  connection,
  namespace,
  taskQueue,
  workflowsPath: fileURLToPath(new URL('workflows.js', import.meta.url)),
});
const { workflow } = new Client({ connection, namespace });
const outcomes = await worker.runUntil(async () => {
  const asChild = await workflow.execute<typeof waits>('waits', {
    workflowId: `${taskQueue}-child`,
    taskQueue,
    args: [connectionId, { taskQueue: waitQueue }],
  });
  const byOperation = await workflow.execute<typeof waitsByOperation>('waitsByOperation', {
    workflowId: `${taskQueue}-operation`,
    taskQueue,
    args: [endpoint, connectionId],
  });
  return [asChild, byOperation].map(({ outcome, tokenVersion }) => [outcome, tokenVersion]);
});
await connection.close();
const names = [tokenManagerService.name, refreshWorkflowId('c1')];
console.log(JSON.stringify({ outcomes, names }));
