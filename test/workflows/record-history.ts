import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';

/** `RECORD_HISTORIES=1` writes the histories that replay.test.ts replays. */
const isRecording = process.env['RECORD_HISTORIES'] !== undefined;
const historiesFolder = join(import.meta.dirname, '..', 'histories');

/** Keeps the history of a run of the scenario, if they are being recorded. */
export async function recordHistory(
  name: string,
  run: Pick<WorkflowHandle, 'fetchHistory'>,
): Promise<void> {
  if (!isRecording) return;
  mkdirSync(historiesFolder, { recursive: true });
  const history = JSON.stringify(await run.fetchHistory(), null, 1);
  // Which process it was says nothing, and differs each time.
  const text = history.replace(/\d+@[\w.-]+/g, 'worker');
  writeFileSync(join(historiesFolder, `${name}.json`), `${text}\n`);
}
