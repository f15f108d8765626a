import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Worker } from '@temporalio/worker';
import { inject } from 'vitest';

/** A Worker of another team: Workflows of its own, over a Task Queue of its own. */
export interface ParentWorker {
  client: Client;
  taskQueue: string;
  close(): Promise<void>;
}

/** Runs the Workflows of the file, by default those of parent-workflows.ts. */
export async function startParentWorker(
  options: {
    namespace?: string;
    workflowsPath?: string;
    activities?: object;
    /** More than one Worker of a test file bundles once. */
    bundle?: { code: string };
  } = {},
): Promise<ParentWorker> {
  const { namespace = inject('temporalNamespace') } = options;
  const bundle = options.bundle ?? (await bundleParents(options.workflowsPath));
  const connection = await NativeConnection.connect({ address: inject('temporalAddress') });
  const taskQueue = `parents-${randomUUID()}`;
  const worker = await Worker.create({
    connection,
    namespace,
    taskQueue,
    workflowBundle: bundle,
    ...(options.activities !== undefined && { activities: options.activities }),
  });
  const running = worker.run();
  return {
    client: new Client({ connection, namespace }),
    taskQueue,
    async close() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}

export function bundleParents(
  workflowsPath = fileURLToPath(new URL('parent-workflows.ts', import.meta.url)),
): Promise<{ code: string }> {
  return bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') });
}
