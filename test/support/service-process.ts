import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findFreePort } from '../../dev/ports.ts';

const root = join(import.meta.dirname, '..', '..');
const sourceEntry = join(root, 'test', 'support', 'run-token-manager.ts');
const pollMs = 50;
/** A machine that is busy takes long to start a process. */
const startLimitMs = 90_000;

export type ServiceCommand = 'gateway' | 'worker' | 'all-in-one' | 'migrate';

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A process of the token-manager command, run from the sources. */
export interface ServiceProcess {
  pid: number;
  /** Of the gateway; nothing listens there in a worker. */
  origin: string;
  /** `/metrics`, `/ping` and `/ready`. */
  metricsOrigin: string;
  exited: Promise<Exit>;
  hasExited(): boolean;
  /** Standard output and error so far. */
  output(): string;
  waitForOutput(pattern: RegExp, limitMs?: number): Promise<void>;
  /** Until `/ready` on METRICS_PORT answers this status. */
  waitUntil(status: 'ready' | 'degraded' | 'not_ready', limitMs?: number): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** SIGTERM, and SIGKILL after 40 s. */
  stop(): Promise<Exit>;
}

/**
 * Spawns `token-manager <command>` with these variables and nothing else of this process's settings;
 * from the build it is `npm run <command>`, in a process group of its own as in a terminal.
 */
export async function startServiceProcess(
  command: ServiceCommand,
  env: Record<string, string>,
  options: {
    fromBuild?: boolean;
    /** What Node runs in place of the sources. */
    program?: string[];
  } = {},
): Promise<ServiceProcess> {
  const [port, metricsPort] = [await findFreePort(), await findFreePort()];
  const [file, args] =
    options.fromBuild === true
      ? ['npm', ['run', '--silent', command]]
      : [process.execPath, [...(options.program ?? ['--import', 'tsx', sourceEntry]), command]];
  const child = spawn(file, args, {
    detached: options.fromBuild === true,
    cwd: root,
    env: {
      PATH: process.env['PATH'] ?? '',
      PORT: String(port),
      METRICS_PORT: String(metricsPort),
      PPROF_PORT: '0',
      LOG_HTTP_REQUESTS: 'false',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  }
  const exited = once(child, 'close').then(() => ({
    code: child.exitCode,
    signal: child.signalCode,
  }));
  // A test that fails leaves nothing behind.
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  void exited.then(() => process.removeListener('exit', killWithUs));
  const hasExited = () => child.exitCode !== null || child.signalCode !== null;
  const output = () => Buffer.concat(chunks).toString('utf8');

  async function poll(what: string, limitMs: number, isDone: () => Promise<boolean>) {
    const endsAtMs = performance.now() + limitMs;
    while (!(await isDone())) {
      if (performance.now() > endsAtMs || hasExited()) {
        throw new Error(`${command} ${what} is missing; it said:\n${output()}`);
      }
      await sleep(pollMs);
    }
  }

  const metricsOrigin = `http://127.0.0.1:${env['METRICS_PORT'] ?? metricsPort}`;
  return {
    pid: child.pid ?? 0,
    origin: `http://127.0.0.1:${env['PORT'] ?? port}`,
    metricsOrigin,
    exited,
    hasExited,
    output,
    waitForOutput: (pattern, limitMs = startLimitMs) =>
      poll(String(pattern), limitMs, () => Promise.resolve(pattern.test(output()))),
    waitUntil: (status, limitMs = startLimitMs) =>
      poll(status, limitMs, async () => {
        const answer = await fetch(`${metricsOrigin}/ready`).catch(() => undefined);
        const body = (await answer?.json().catch(() => undefined)) as
          { status?: string } | undefined;
        return body?.status === status;
      }),
    kill: (signal) => void child.kill(signal),
    async stop() {
      child.kill('SIGTERM');
      const force = setTimeout(() => child.kill('SIGKILL'), 40_000);
      const exit = await exited;
      clearTimeout(force);
      return exit;
    },
  };
}
