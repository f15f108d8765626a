import type { ResealProgress } from '../../client/contract.ts';
import type { ResealStanding } from './reseal-run.ts';

/** How often a line is written where lines cannot be written over. */
const lineEveryMs = 10_000;
const noWorkerAfterMs = 15_000;

interface ProgressLine {
  /** `away`: Temporal does not answer just now. */
  show(standing: ResealStanding | 'away'): void;
  /** Leaves the last line as it is. */
  end(): void;
}

/** Tells of a re-seal: one line that is written over on a terminal, a line now and then elsewhere. */
export function createProgressLine(
  stream: Pick<NodeJS.WriteStream, 'isTTY' | 'write'>,
  monotonicMs: () => number,
): ProgressLine {
  const startedAtMs = monotonicMs();
  let shownAtMs = -Infinity;
  let shown = '';

  function lineOf(standing: ResealStanding | 'away'): string | undefined {
    if (standing === 'away') return 'Temporal does not answer; it is asked again.';
    if (standing.progress !== undefined) return describeProgress(standing.progress);
    const isEarly = standing.status !== 'RUNNING' || monotonicMs() - startedAtMs < noWorkerAfterMs;
    return isEarly ? undefined : 'No worker has taken it yet: does one of this version run?';
  }

  return {
    show(standing) {
      const line = lineOf(standing);
      const nowMs = monotonicMs();
      if (line === undefined || line === shown) return;
      if (stream.isTTY) stream.write(`\r\u001b[K${line}`);
      else if (nowMs - shownAtMs >= lineEveryMs) stream.write(`${line}\n`);
      else return;
      shown = line;
      shownAtMs = nowMs;
    },
    end() {
      if (stream.isTTY && shown !== '') stream.write('\n');
    },
  };
}

export function describeProgress(progress: ResealProgress): string {
  const { resealed, total, pass, table, unopenable } = progress;
  const percent = total === 0 ? 100 : Math.min(Math.floor((100 * resealed) / total), 100);
  const where = table === null ? 'waits until no process seals with the old keys' : `at ${table}`;
  const broken = unopenable === 0 ? '' : `, ${unopenable} do not open`;
  return `${resealed} of ${total} rows (${percent} %), pass ${pass}, ${where}${broken}`;
}
