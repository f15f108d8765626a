import type { Connection } from '@temporalio/client';

export interface NexusEndpoint {
  name: string;
  /** Where its handlers poll. */
  namespace: string;
  taskQueue: string;
}

/**
 * The endpoint through which Workflows of other namespaces reach the token manager: made, or brought to what it
 * should be. Names are unique in a cluster.
 */
export async function ensureNexusEndpoint(
  connection: Connection,
  { name, namespace, taskQueue }: NexusEndpoint,
): Promise<void> {
  const spec = { name, target: { worker: { namespace, taskQueue } } };
  const { operatorService } = connection;
  const { endpoints } = await operatorService.listNexusEndpoints({ name });
  const [found] = endpoints;
  if (found === undefined) {
    await operatorService.createNexusEndpoint({ spec });
    return;
  }
  const target = found.spec?.target?.worker;
  if (target?.namespace === namespace && target.taskQueue === taskQueue) return;
  const { id, version } = found;
  await operatorService.updateNexusEndpoint({
    id: id ?? '',
    version: version ?? null,
    spec,
  });
}
