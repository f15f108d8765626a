import type { BuildInfo } from '../gateway/routes/build.ts';
import { loadConfig, type Config } from '../platform/config.ts';
import { createLogger, type Logger } from '../platform/log.ts';
import { loadTracer } from '../platform/otel-tracer.ts';
import type { Tracer } from '../platform/tracer.ts';
import { readableError } from './readable-error.ts';
import { serveProfiles } from './serve-profiles.ts';

/** npm hands on the Ctrl-C that the terminal has already sent: so soon after, it is the same one. */
const sameSignalMs = 500;
/** A process that a signal ended answers 128 and its number (POSIX 2.8.2). */
const signalExitCodes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** What the command line knows and each process needs. */
export interface ProcessSetting {
  build: BuildInfo;
  workflowBundlePath: string;
  /** Only for the tests: a PostgreSQL that may forget commits. */
  allowVolatileDatabase: boolean;
  /** Path of temporal.config.json; the one beside package.json unless a test has its own. */
  configFile?: string;
}

export interface ProcessParts extends ProcessSetting {
  config: Config;
  log: Logger;
  tracer: Tracer;
  /** Aborted when the process is to end: whatever waits for a dependency stops waiting. */
  signal: AbortSignal;
}

export interface RunningProcess {
  /** Rejects when the process cannot go on. That it resolves means nothing. */
  failed: Promise<void>;
  /** Ends in good order: what is under way is finished first, within the limits of each part. */
  close(): Promise<void>;
}

/**
 * Runs until a signal: the first drains and exits with 0, a second ends at once. What cannot start, or
 * cannot go on, exits with 1 and says why on standard error.
 */
export async function runProcess(
  start: (parts: ProcessParts) => Promise<RunningProcess>,
  setting: ProcessSetting,
): Promise<void> {
  const ending = new AbortController();
  let signalledAtMs = 0;
  const onSignal = (name: keyof typeof signalExitCodes): void => {
    if (!ending.signal.aborted) {
      signalledAtMs = performance.now();
      ending.abort();
    } else if (performance.now() - signalledAtMs > sameSignalMs) {
      process.exit(signalExitCodes[name]);
    }
  };
  for (const name of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.on(name, onSignal);
  try {
    const { configFile } = setting;
    const config = loadConfig(configFile === undefined ? {} : { configFile });
    const { subsystemName: subsystem } = config;
    const log = createLogger({
      subsystem,
      level: config.log.level,
      pretty: process.stdout.isTTY,
    });
    for (const warning of config.warnings) log.warn(warning);
    const tracer = await loadTracer(config, log);
    const profiles = await serveProfiles(config, log);
    const { signal } = ending;
    const parts = { ...setting, config, log, tracer, signal };
    await runUntilEnding(() => start(parts), { log, signal });
    await tracer.close();
    await profiles?.close();
    process.exit(0);
  } catch (error) {
    if (ending.signal.aborted && isAbort(error)) process.exit(0);
    console.error(readableError(error));
    process.exit(1);
  }
}

async function runUntilEnding(
  start: () => Promise<RunningProcess>,
  { log, signal }: { log: Logger; signal: AbortSignal },
): Promise<void> {
  const running = await start();
  try {
    await new Promise<void>((resolve, reject) => {
      running.failed.catch(reject);
      signal.addEventListener('abort', () => resolve(), { once: true });
      if (signal.aborted) resolve();
    });
    log.info('ending: what is under way is finished first; a second signal ends at once');
  } finally {
    await running.close();
  }
  log.info('ended');
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}
