import { appendFileSync } from 'node:fs';
import type { Callers } from './callers.ts';
import type { Chaos } from './conduct-chaos.ts';
import type { ProviderProcess } from './provider-process.ts';

const everyMs = 5_000;

/** Writes a line to the log file, and to the terminal unless the run is quiet. */
export type Tell = (line: string) => void;

export function createTell(options: { logFile: string; quiet: boolean }): Tell {
  return (line) => {
    appendFileSync(options.logFile, `${line}\n`);
    if (!options.quiet) process.stdout.write(`${line}\n`);
  };
}

/** `02:05`. */
export function minutesAndSeconds(ms: number): string {
  const all = Math.round(ms / 1_000);
  return [Math.floor(all / 60), all % 60].map((part) => String(part).padStart(2, '0')).join(':');
}

/** A line every five seconds: time, exchanges, answers, what is broken. Returns what ends it. */
export function reportProgress(options: {
  provider: ProviderProcess;
  callers: Callers;
  chaos: Chaos;
  nowMs: () => number;
  tell: Tell;
}): () => void {
  const { provider, callers, chaos, nowMs, tell } = options;
  const startedAtMs = nowMs();
  let exchangesBefore = 0;
  let callsBefore = 0;

  async function report(): Promise<void> {
    const journal = await provider.journal();
    const exchanges = journal.filter((entry) => entry.kind === 'send' && entry.issued).length;
    const recent = callers.calls.slice(callsBefore);
    callsBefore = callers.calls.length;
    const rate = ((exchanges - exchangesBefore) / (everyMs / 1_000)).toFixed(1);
    exchangesBefore = exchanges;
    const problems = new Map<string, number>();
    for (const { code } of recent) {
      if (code !== null) problems.set(code, (problems.get(code) ?? 0) + 1);
    }
    const served = recent.filter(({ token }) => token !== null).length;
    tell(
      [
        minutesAndSeconds(nowMs() - startedAtMs),
        `exchanges ${exchanges} (${rate}/s)`,
        `answers: ${[`200 ${served}`, ...[...problems].map(([code, n]) => `${code} ${n}`)].join(', ')}`,
        chaos.current() === '' ? 'calm' : `broken: ${chaos.current()}`,
      ].join('  '),
    );
  }

  const timer = setInterval(() => {
    report().catch((error: unknown) => tell(`no progress line: ${String(error)}`));
  }, everyMs);
  return () => clearInterval(timer);
}
