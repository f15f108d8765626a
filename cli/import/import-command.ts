import { open, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { pino } from 'pino';
import { createLogger, type Logger } from '../../platform/log.ts';
import { describeFault } from '../operations/describe-failure.ts';
import { runOperation, type Operations } from '../operations/run-operation.ts';
import type { ProcessSetting } from '../run-process.ts';
import { createCheckpoint, type Checkpoint } from './checkpoint.ts';
import { importLines, type ImportEnd, type ImportProgress } from './import-lines.ts';
import type { BadLine } from './parse-line.ts';
import { readLines } from './read-lines.ts';
import { formatDuration, group, renderProgress, type ProgressFacts } from './render-progress.ts';

/** Between two progress lines where standard error is no terminal. */
const progressEveryMs = 5_000;
const barEveryMs = 200;
/** Of bad lines, told one by one; a report has them all. */
const toldMax = 20;
const interruptedExitCode = 130;

const importHelp = `
FILE has one JSON object a line: the body of PUT /v1/connections/{id} and beside it "id". - is standard input.

  {"id":"c1","tenant_id":"acme","app_id":"hubspot","refresh_token":"…","access_token":"…","expires_in":1800}

Lines that are bad are told by their numbers and passed over; the others are imported. To import a file again
changes nothing but what is not a credential, so after a failure run it again: with --checkpoint it goes on
where it was, without it from its beginning, or from a line with --from-line.

Exit codes: 0 all lines are imported, 1 some are not or it ended before its time, 2 wrong usage, 130 interrupted.`;

interface ImportOptions {
  report?: string;
  checkpoint?: string;
  fromLine: number;
  auditLog?: string;
  json?: boolean;
}

/** `token-manager connections import`. */
export function addImportCommand(command: Command, setting: ProcessSetting): void {
  command
    .command('import <file>')
    .description('import connections from a file of JSON lines')
    .option(
      '--report <file>',
      'write every bad line there: {"line", "id", "code", "detail", "errors"}',
    )
    .addOption(
      new Option(
        '--checkpoint <file>',
        'note there how far it has got, and go on from there',
      ).conflicts('fromLine'),
    )
    .option('--from-line <n>', 'begin with that line', readLineNumber, 1)
    .option('--audit-log <file>', 'append the audit there and not to standard error')
    .option('--json', 'the end as JSON')
    .addHelpText('after', importHelp)
    .action((file: string, options: ImportOptions) =>
      runOperation(setting, (operations) => importFile(operations, file, options)),
    );
}

async function importFile(
  operations: Operations,
  file: string,
  options: ImportOptions,
): Promise<void> {
  const source = await openSource(file);
  const checkpoint = openCheckpoint(file, source.sizeBytes, options.checkpoint);
  const fromLine = checkpoint === undefined ? options.fromLine : (await checkpoint.read()) + 1;
  if (fromLine > 1) console.error(`Going on from line ${group(fromLine)}.`);
  const report =
    options.report === undefined ? undefined : await openReport(options.report, fromLine > 1);
  const audit = openAudit(operations, options.auditLog);
  const show = createDisplay();
  const interruption = listenForInterruption();
  const startedAtMs = performance.now();
  let told = 0;
  let reached = fromLine - 1;
  const factsOf = ({ counts, endBytes }: ImportProgress): ProgressFacts => ({
    lines: Object.values(counts).reduce((sum, count) => sum + count, 0),
    refused: counts.refused,
    doneBytes: endBytes,
    totalBytes: source.sizeBytes,
    elapsedMs: performance.now() - startedAtMs,
  });

  let end: ImportEnd;
  try {
    end = await importLines(readLines(source.chunks), {
      importConnections: operations.services.importConnections,
      fromLine,
      isEnding: interruption.isAsked,
      async onBatch(progress, { done, bad }) {
        for (const { id, outcome } of done) {
          audit?.(id, outcome.outcome === 'refused' ? outcome.error.code : 'done');
        }
        for (const each of bad) {
          if (each.error.code === 'internal')
            operations.log.error({ err: each.error }, 'import failed');
          if (told < toldMax) show.line(renderBadLine(each));
          else if (told === toldMax)
            show.line('More lines are bad; --report <file> takes them all.');
          told += 1;
        }
        await report?.write(bad);
        await checkpoint?.write(progress.line);
        reached = progress.line;
        show.progress(factsOf(progress));
      },
      onAway(error, pauseMs) {
        show.line(`${error.message} Trying again in ${pauseMs / 1_000} s.`);
      },
      monotonicMs: () => performance.now(),
      sleep: (ms) => sleep(ms),
    });
  } catch (error) {
    show.line(`Not finished. Run it again to go on${hint(options, reached + 1)}.`);
    throw error;
  } finally {
    interruption.stop();
    await report?.close();
    show.end();
  }
  if (!end.isComplete) {
    console.error(`Interrupted. Run it again to go on${hint(options, end.line + 1)}.`);
    process.exitCode = interruptedExitCode;
  } else {
    await checkpoint?.remove();
    if (end.counts.refused > 0) process.exitCode = 1;
  }
  printEnd(end, performance.now() - startedAtMs, options.json === true);
}

function hint({ checkpoint }: ImportOptions, line: number): string {
  return checkpoint === undefined ? `, from here with --from-line ${line}` : ' from here';
}

interface Source {
  chunks: AsyncIterable<Buffer>;
  sizeBytes: number | undefined;
}

async function openSource(file: string): Promise<Source> {
  if (file === '-') {
    return { chunks: process.stdin, sizeBytes: undefined };
  }
  const facts = await stat(file).catch(unreadable(file));
  if (facts.isDirectory()) throw new Error(`${file} is a folder: name a file of JSON lines.`);
  // Opened now, so that what cannot be read is told before anything is begun.
  const handle = await open(file, 'r').catch(unreadable(file));
  return {
    chunks: handle.createReadStream(),
    sizeBytes: facts.isFile() ? facts.size : undefined,
  };
}

function unreadable(file: string): (error: unknown) => never {
  return (error) => {
    const reason = error instanceof Error ? error.message : 'unknown';
    throw new Error(`${file} cannot be read: ${reason}.`, { cause: error });
  };
}

function openCheckpoint(
  file: string,
  sizeBytes: number | undefined,
  path: string | undefined,
): Checkpoint | undefined {
  if (path === undefined) return undefined;
  if (sizeBytes === undefined) throw new Error('--checkpoint is for files, not for a stream.');
  return createCheckpoint(path, { file, sizeBytes });
}

interface Report {
  write(bad: BadLine[]): Promise<void>;
  close(): Promise<void>;
}

/** A line of JSON for each bad line; of an import that goes on, behind those of before. */
async function openReport(path: string, goesOn: boolean): Promise<Report> {
  const handle = await open(path, goesOn ? 'a' : 'w', 0o600);
  return {
    async write(bad) {
      const lines = bad.map(({ line, id, error: { code, message, errors } }) =>
        JSON.stringify({ line, id, code, detail: message, ...(errors && { errors }) }),
      );
      if (lines.length > 0) await handle.appendFile(`${lines.join('\n')}\n`);
    },
    close: () => handle.close(),
  };
}

type Audit = (connectionId: string, outcome: string) => void;

/**
 * A line a connection, as for a PUT. Undefined where standard error is a terminal and no file was named: there
 * nobody keeps them, and the progress would be lost among them.
 */
function openAudit(
  { log, callerName, services }: Operations,
  file: string | undefined,
): Audit | undefined {
  if (file === undefined && process.stderr.isTTY) return undefined;
  const base: Logger =
    file === undefined
      ? log
      : createLogger({
          subsystem: services.config.subsystemName,
          level: 'info',
          pretty: false,
          destination: pino.destination({ dest: file, append: true, sync: true, mode: 0o600 }),
        });
  const audit = base.child({ audit: true }, { level: 'info' });
  return (connectionId, outcome) => {
    const action = 'PUT /v1/connections/{id}';
    audit.info({ caller: callerName, action, connection_id: connectionId, outcome }, 'audit');
  };
}

/** On a terminal a bar that stays below what is told; elsewhere a line every 5 s. */
function createDisplay(): {
  line(text: string): void;
  progress(facts: ProgressFacts): void;
  end(): void;
} {
  const { stderr } = process;
  const isTerminal = stderr.isTTY;
  const everyMs = isTerminal ? barEveryMs : progressEveryMs;
  let shownAtMs = performance.now();
  let newest: ProgressFacts | undefined;
  const draw = (facts: ProgressFacts): void => {
    if (isTerminal)
      stderr.write(`\r\u001b[K${renderProgress(facts, true).slice(0, stderr.columns - 1)}`);
    else stderr.write(`${renderProgress(facts, false)}\n`);
  };
  return {
    line(text) {
      stderr.write(isTerminal ? `\r\u001b[K${text}\n` : `${text}\n`);
    },
    progress(facts) {
      newest = facts;
      if (performance.now() - shownAtMs < everyMs) return;
      shownAtMs = performance.now();
      draw(facts);
    },
    end() {
      if (newest !== undefined) draw(newest);
      if (isTerminal && newest !== undefined) stderr.write('\n');
    },
  };
}

/** The first signal ends the import after the batch under way; the second the process. */
function listenForInterruption(): { isAsked: () => boolean; stop: () => void } {
  let isAsked = false;
  const onSignal = (): void => {
    if (isAsked) process.exit(interruptedExitCode);
    isAsked = true;
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  return {
    isAsked: () => isAsked,
    stop() {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}

function renderBadLine({ line, id, error }: BadLine): string {
  const of = id === null ? '' : ` (${id})`;
  const faults = error.errors?.map(describeFault).join('; ') ?? `${error.message} (${error.code})`;
  return `line ${line}${of}: ${faults}`;
}

function printEnd({ counts, line }: ImportProgress, elapsedMs: number, asJson: boolean): void {
  if (asJson) {
    console.log(JSON.stringify({ ...counts, last_line: line, elapsed_ms: Math.round(elapsedMs) }));
    return;
  }
  const { created, stored, kept, kept_newer: keptNewer, refused } = counts;
  console.log(
    `${group(created)} created, ${group(stored)} with new credentials, ${group(kept)} as they were, ` +
      `${group(keptNewer)} newer than the file, ${group(refused)} bad, in ${formatDuration(elapsedMs)}.`,
  );
}

function readLineNumber(text: string): number {
  const line = Number(text);
  if (/^\d{1,15}$/.test(text) && line >= 1) return line;
  throw new InvalidArgumentError('It takes a whole number from 1.');
}
