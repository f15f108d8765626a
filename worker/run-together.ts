import type { Worker } from '@temporalio/worker';

/**
 * Creates the workers of one process and runs them: when one of them ends, for whatever reason, or cannot be
 * created, the others are shut down too. Rejects with what kept one from being created.
 */
export async function runTogether(
  creations: (() => Promise<Worker>)[],
): Promise<{ running: Promise<void>; shutdown(): void }> {
  const workers: Worker[] = [];
  const ends: Promise<void>[] = [];
  const shutdown = (): void => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const failedCreation = await createAll(creations, workers);
  for (const worker of workers) ends.push(worker.run().finally(shutdown));
  // A worker holds its connection until it has run and ended.
  if (failedCreation !== undefined) shutdown();
  const running = Promise.allSettled(ends).then((settled) => {
    const failed = settled.find((end) => end.status === 'rejected');
    if (failed !== undefined) throw failed.reason as Error;
  });
  if (failedCreation === undefined) return { running, shutdown };
  await running.catch(() => undefined);
  throw failedCreation.error;
}

/** What the first failed one was kept from being created by. */
async function createAll(
  creations: (() => Promise<Worker>)[],
  workers: Worker[],
): Promise<{ error: unknown } | undefined> {
  for (const create of creations) {
    try {
      workers.push(await create());
    } catch (error) {
      return { error };
    }
  }
  return undefined;
}
