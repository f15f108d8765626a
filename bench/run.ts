import { buildIfStale } from '../dev/build.mjs';
import { startBenchStack } from './bench-stack.ts';
import { parseBenchOptions, type BenchOptions } from './bench-options.ts';
import { missedGuards, renderJson, renderTables } from './report.ts';
import type { Findings, Scenario } from './scenario.ts';
import { scenarios } from './scenarios/index.ts';

/*
 * npm run bench: each scenario beside its limit, in interleaved rounds. Everything real, on one machine:
 * PostgreSQL with fsync, a Temporal dev server, the service from its build, the callers in a process of
 * their own.
 */

const isTerminal = process.stderr.isTTY;

/** Returns whether every guard held that was asked for. */
async function bench({ extent, flames, guard, json, only }: BenchOptions): Promise<boolean> {
  const chosen = chooseScenarios(only);
  const beganAtMs = performance.now();
  await buildIfStale();
  const stack = await startBenchStack();
  try {
    const findings: Findings = { figures: [], measurements: [] };
    let measuringMs = 0;
    for (const [index, scenario] of chosen.entries()) {
      const tell = (line: string) =>
        showProgress(`[${index + 1}/${chosen.length}] ${scenario.figures[0] ?? ''}: ${line}`);
      tell('prepares');
      const measure = await scenario.prepare({ stack, extent, flames, tell });
      const measuredFromMs = performance.now();
      const found = await measure();
      measuringMs += performance.now() - measuredFromMs;
      findings.figures.push(...found.figures);
      findings.measurements.push(...found.measurements);
      clearProgress();
      // Each when it is there: a run takes minutes, and may be ended before its time.
      console.log(`${renderTables(found)}\n`);
      await stack.endScenario();
    }
    const seconds = (ms: number) => (ms / 1_000).toFixed(0);
    console.log(
      `\n${extent.rounds} rounds, Node ${process.version}; measured for ${seconds(measuringMs)} s ` +
        `of ${seconds(performance.now() - beganAtMs)} s`,
    );
    if (json) console.log(renderJson(findings));
    const missed = guard ? missedGuards(findings) : [];
    for (const line of missed) console.error(line);
    return missed.length === 0;
  } finally {
    await stack.close();
  }
}

function chooseScenarios(only: string[]): Scenario[] {
  if (only.length === 0) return scenarios;
  const chosen = scenarios.filter(({ figures }) =>
    figures.some((figure) => only.some((name) => figure.includes(name))),
  );
  if (chosen.length === 0) {
    const names = scenarios.flatMap(({ figures }) => figures).join(', ');
    throw new Error(`--only names no figure; there are ${names}`);
  }
  return chosen;
}

function showProgress(line: string): void {
  if (isTerminal) process.stderr.write(`\r\u001b[2K${line}`);
  else process.stderr.write(`${line}\n`);
}

function clearProgress(): void {
  if (isTerminal) process.stderr.write('\r\u001b[2K');
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(1));
}
try {
  const isKept = await bench(parseBenchOptions(process.argv.slice(2)));
  process.exit(isKept ? 0 : 1);
} catch (error) {
  clearProgress();
  process.stderr.write(`${error instanceof Error ? (error.stack ?? '') : String(error)}\n`);
  process.exit(1);
}
