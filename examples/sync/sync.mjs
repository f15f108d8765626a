// Syncs connections by Workflows: node examples/sync/sync.mjs demo
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { TokenManagerClient } from 'token-manager/client';
import { createSyncActivities } from './activities.mjs';

const {
  TOKEN_MANAGER_URL = 'http://127.0.0.1:8082',
  TOKEN_MANAGER_KEY,
  API_URL = 'http://127.0.0.1:8084',
  // The namespace of the token manager; from another one, ensureFresh takes a nexusEndpoint.
  TEMPORAL_ADDRESS = '127.0.0.1:7233',
  TEMPORAL_NAMESPACE = 'default',
  WAIT_TASK_QUEUE,
  SYNC_SECONDS = '90',
} = process.env;
const connectionIds = process.argv.length > 2 ? process.argv.slice(2) : ['demo'];

const tokens = new TokenManagerClient({
  baseUrl: TOKEN_MANAGER_URL,
  ...(TOKEN_MANAGER_KEY && { key: TOKEN_MANAGER_KEY }),
  allowedOrigins: [new URL(API_URL).origin],
});
const connection = await NativeConnection.connect({ address: TEMPORAL_ADDRESS });
const taskQueue = 'sync-example';
const worker = await Worker.create({
  connection,
  namespace: TEMPORAL_NAMESPACE,
  taskQueue,
  workflowsPath: fileURLToPath(new URL('workflows.mjs', import.meta.url)),
  activities: createSyncActivities(tokens, API_URL),
});
const client = new Client({ connection, namespace: TEMPORAL_NAMESPACE });

await worker.runUntil(async () => {
  const runs = connectionIds.map((connectionId) =>
    client.workflow.execute('syncConnection', {
      workflowId: `sync/${connectionId}/${randomUUID()}`,
      taskQueue,
      args: [
        {
          connectionId,
          forMs: 1_000 * Number(SYNC_SECONDS),
          everyMs: 5_000,
          ...(WAIT_TASK_QUEUE && { taskQueue: WAIT_TASK_QUEUE }),
        },
      ],
    }),
  );
  for (const run of runs) console.log(JSON.stringify(await run));
});
tokens.close();
await connection.close();
