import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findFreePort } from '../dev/ports.ts';

const entry = join(import.meta.dirname, '..', 'dist', 'cli', 'token-manager.js');
const pollMs = 50;
const startLimitMs = 60_000;
const logTailLength = 4_000;

export type ServiceCommand = 'gateway' | 'worker' | 'all-in-one';

/** A process of the token-manager command, from the build, as an operator would start it. */
export interface Service {
  pid: number;
  origin: string;
  /** Of its profiles. */
  pprofOrigin: string;
  stop(): Promise<void>;
}

/** Starts one with these variables and waits until it is ready. Its log goes into a file. */
export async function startService(
  command: ServiceCommand,
  { env, logFile }: { env: Record<string, string>; logFile: string },
): Promise<Service> {
  const [port, metricsPort, pprofPort] = [
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
  ];
  const log = openSync(logFile, 'w');
  const child = spawn(process.execPath, [entry, command], {
    env: {
      PATH: process.env['PATH'] ?? '',
      PORT: String(port),
      METRICS_PORT: String(metricsPort),
      PPROF_PORT: String(pprofPort),
      ...env,
    },
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  const endsAtMs = performance.now() + startLimitMs;
  while (!(await isReady(`http://127.0.0.1:${metricsPort}/ready`))) {
    if (hasEnded() || performance.now() > endsAtMs) {
      child.kill('SIGKILL');
      const tail = readFileSync(logFile, 'utf8').slice(-logTailLength);
      throw new Error(`${command} is not ready; it said:\n${tail}`);
    }
    await sleep(pollMs);
  }
  const isTls = env['TLS_MODE'] !== undefined;
  return {
    pid: child.pid ?? 0,
    origin: `${isTls ? 'https' : 'http'}://127.0.0.1:${port}`,
    pprofOrigin: `http://127.0.0.1:${pprofPort}`,
    async stop() {
      if (hasEnded()) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}

async function isReady(url: string): Promise<boolean> {
  const answer = await fetch(url).catch(() => undefined);
  const body = (await answer?.json().catch(() => undefined)) as { status?: string } | undefined;
  // A gateway without Temporal is degraded, and serves.
  return body?.status === 'ready' || body?.status === 'degraded';
}
