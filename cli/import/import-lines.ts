import { TokenManagerError } from '../../client/contract.ts';
import type { BulkImport, BulkOutcome } from '../../connections/bulk-import.ts';
import { parseLine, type BadLine, type GoodLine } from './parse-line.ts';
import type { Line } from './read-lines.ts';

/** What is read ahead while the lines before it are written. */
const batchLinesMax = 500;
const batchBytesMax = 8 * 1_048_576;
/** How long the store or the key service may be away before the import gives up. */
const patienceMs = 60_000;
const pauseMinMs = 500;
const pauseMaxMs = 5_000;

export type OutcomeCounts = Record<BulkOutcome['outcome'], number>;

export interface ImportProgress {
  /** The last line that is done. */
  line: number;
  endBytes: number;
  counts: OutcomeCounts;
}

export interface ImportEnd extends ImportProgress {
  /** Nothing is left of the lines. */
  isComplete: boolean;
}

interface Batch {
  good: GoodLine[];
  bad: BadLine[];
  line: number;
  endBytes: number;
}

/**
 * Imports lines in their order. The lines of a batch are done together, and told to `onBatch` then; it
 * awaits that. Ends early once `isEnding` says so, after the batch under way. Throws
 * `store_unavailable` or `key_service_unavailable` when these were away for a minute; what was told is done.
 */
export async function importLines(
  lines: AsyncIterable<Line>,
  dependencies: {
    importConnections: BulkImport;
    /** Lines before it are passed over. */
    fromLine: number;
    isEnding: () => boolean;
    onBatch: (
      progress: ImportProgress,
      ended: { done: { id: string; outcome: BulkOutcome }[]; bad: BadLine[] },
    ) => Promise<void>;
    onAway: (error: TokenManagerError, pauseMs: number) => void;
    monotonicMs: () => number;
    sleep: (ms: number) => Promise<void>;
  },
): Promise<ImportEnd> {
  const { fromLine, isEnding, onBatch } = dependencies;
  const counts = { created: 0, stored: 0, kept: 0, kept_newer: 0, refused: 0 };
  let progress: ImportProgress = { line: fromLine - 1, endBytes: 0, counts };
  const batches = batchesOf(lines, fromLine);
  let reading = batches.next();
  for (;;) {
    const read = await reading;
    if (read.done === true) return { ...progress, isComplete: true };
    const { good, bad, line, endBytes } = read.value;
    reading = batches.next();
    // It is awaited in the next round; should that not come about, nobody misses it.
    reading.catch(() => undefined);
    const outcomes = await importPatiently(good, dependencies);
    const done = good.flatMap(({ id }, at) => {
      const outcome = outcomes[at];
      return outcome === undefined ? [] : [{ id, outcome }];
    });
    const refused = good.flatMap(({ id, line: number }, at): BadLine[] => {
      const outcome = outcomes[at];
      return outcome?.outcome === 'refused' ? [{ line: number, id, error: outcome.error }] : [];
    });
    for (const { outcome } of done) counts[outcome.outcome] += 1;
    counts.refused += bad.length;
    progress = { line, endBytes, counts };
    const inOrder = [...bad, ...refused].toSorted((a, b) => a.line - b.line);
    await onBatch(progress, { done, bad: inOrder });
    if (isEnding()) return { ...progress, isComplete: (await reading).done === true };
  }
}

async function* batchesOf(lines: AsyncIterable<Line>, fromLine: number): AsyncGenerator<Batch> {
  let batch: Batch = { good: [], bad: [], line: 0, endBytes: 0 };
  let sizeBytes = 0;
  for await (const line of lines) {
    if (line.number < fromLine) continue;
    const parsed = parseLine(line);
    if ('good' in parsed) batch.good.push(parsed.good);
    else batch.bad.push(parsed.bad);
    batch.line = line.number;
    batch.endBytes = line.endBytes;
    sizeBytes += line.text?.length ?? 0;
    if (batch.good.length + batch.bad.length < batchLinesMax && sizeBytes < batchBytesMax) continue;
    yield batch;
    batch = { good: [], bad: [], line: 0, endBytes: 0 };
    sizeBytes = 0;
  }
  if (batch.good.length + batch.bad.length > 0) yield batch;
}

/** What is repeated is found done: an import is idempotent. */
async function importPatiently(
  good: GoodLine[],
  { importConnections, onAway, monotonicMs, sleep }: Parameters<typeof importLines>[1],
): Promise<BulkOutcome[]> {
  const giveUpAtMs = monotonicMs() + patienceMs;
  for (let pauseMs = pauseMinMs; ; pauseMs = Math.min(2 * pauseMs, pauseMaxMs)) {
    try {
      return await importConnections(good);
    } catch (error) {
      if (!(error instanceof TokenManagerError) || monotonicMs() >= giveUpAtMs) throw error;
      onAway(error, pauseMs);
    }
    await sleep(pauseMs);
  }
}
