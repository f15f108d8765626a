const barCells = 30;

export interface ProgressFacts {
  /** Lines that are done, in this run. */
  lines: number;
  refused: number;
  doneBytes: number;
  /** Undefined where nobody can tell, as of a pipe. */
  totalBytes: number | undefined;
  elapsedMs: number;
}

/** One line: how far, how fast, how long still. */
export function renderProgress(facts: ProgressFacts, withBar: boolean): string {
  const { lines, refused, doneBytes, totalBytes, elapsedMs } = facts;
  const perSecond = elapsedMs <= 0 ? 0 : Math.round((1_000 * lines) / elapsedMs);
  const share =
    totalBytes === undefined ? undefined : Math.min(doneBytes / Math.max(totalBytes, 1), 1);
  const parts = [`${group(lines)} lines`, `${group(perSecond)}/s`];
  if (refused > 0) parts.push(`${group(refused)} bad`);
  if (share !== undefined && share > 0 && share < 1) {
    parts.push(`${formatDuration((elapsedMs * (1 - share)) / share)} left`);
  }
  const text = parts.join(', ');
  if (share === undefined) return text;
  const percent = `${String(Math.floor(100 * share)).padStart(3)} %`;
  if (!withBar) return `${percent.trim()}: ${text}`;
  const filled = Math.round(barCells * share);
  return `[${'#'.repeat(filled)}${'-'.repeat(barCells - filled)}] ${percent} ${text}`;
}

/** With commas, as 100,000. */
export function group(count: number): string {
  return count.toLocaleString('en-US');
}

/** Whole minutes and seconds. */
export function formatDuration(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  const minutes = Math.floor(seconds / 60);
  return minutes === 0 ? `${seconds} s` : `${minutes} min ${seconds % 60} s`;
}
