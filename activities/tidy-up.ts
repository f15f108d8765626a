import type { RevocationStore } from '../connections/revocation.ts';
import type { SweepStore } from '../connections/sweep.ts';
import type { Logger } from '../platform/log.ts';

export interface TidyUpDependencies {
  sweep: Pick<SweepStore, 'announceEnds'>;
  revocations: Pick<RevocationStore, 'overdue' | 'purge'>;
  /** Starts the revocation of a deleted connection, or finds it running. */
  startRevocation: (connection: { connectionId: string }) => Promise<void>;
  /** As long as Temporal keeps the histories of ended runs. */
  retentionMs: number;
  stopping: AbortSignal;
  log: Pick<Logger, 'info' | 'warn'>;
}

export interface TidyUpSummary {
  announced: number;
  /** Revocations whose start, or run, was lost. */
  restarted: number;
  /** Tombstones that nobody can need any more. */
  forgotten: number;
}

const batchMax = 500;
/** A minute later there is another sweep. */
const batchesMax = 20;
const restartsMax = 200;
/** A tombstone outlives every history that may hold tokens of its connection. */
const tombstoneSlackMs = 86_400_000;

/** What a sweep does beside refreshing. */
export async function tidyUp(dependencies: TidyUpDependencies): Promise<TidyUpSummary> {
  const { sweep, revocations, retentionMs } = dependencies;
  return {
    announced: await inBatches(dependencies, () => sweep.announceEnds(batchMax)),
    restarted: await restartRevocations(dependencies),
    forgotten: await inBatches(dependencies, () =>
      revocations.purge(retentionMs + tombstoneSlackMs, batchMax),
    ),
  };
}

async function inBatches(
  { stopping }: TidyUpDependencies,
  next: () => Promise<number>,
): Promise<number> {
  let total = 0;
  for (let batch = 0; batch < batchesMax && !stopping.aborted; batch += 1) {
    const count = await next();
    total += count;
    if (count < batchMax) break;
  }
  return total;
}

async function restartRevocations({
  revocations,
  startRevocation,
  log,
}: TidyUpDependencies): Promise<number> {
  const overdue = await revocations.overdue(restartsMax);
  for (const connection of overdue) {
    await startRevocation(connection);
    log.info({ connection_id: connection.connectionId }, 'a revocation was started again');
  }
  return overdue.length;
}
