import { execFileSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { SetupError } from './setup-error.ts';

const leftoverGraceMs = 10_000;
const leftoverPollMs = 50;

/** Ends a child politely, and after `graceMs` without asking. */
export async function stopChild(
  child: ChildProcess,
  signal: NodeJS.Signals,
  graceMs: number,
): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  const force = setTimeout(() => child.kill('SIGKILL'), graceMs);
  await ended;
  clearTimeout(force);
}

export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/**
 * Ends the server that a killed run left behind. The first line of `pidFile` names the process; it is
 * ours only if its command line holds `marker` (its data path), for process numbers are used again.
 * Returns true if there was one. The stale file is removed in any case.
 */
export async function endLeftover(options: {
  pidFile: string;
  marker: string;
  what: string;
  signal: NodeJS.Signals;
}): Promise<boolean> {
  const pid = readPid(options.pidFile);
  if (pid === undefined) return false;
  if (!isOurs(pid, options.marker)) {
    rmSync(options.pidFile, { force: true });
    return false;
  }
  process.kill(pid, options.signal);
  const patience = Math.ceil(leftoverGraceMs / leftoverPollMs);
  for (let poll = 0; poll < patience && isOurs(pid, options.marker); poll += 1) {
    await sleep(leftoverPollMs);
  }
  if (isOurs(pid, options.marker)) {
    throw new SetupError(
      `${options.what} of an earlier run (process ${pid}) does not end. End it by hand: kill -9 ${pid}`,
    );
  }
  rmSync(options.pidFile, { force: true });
  return true;
}

function readPid(pidFile: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(pidFile, 'utf8');
  } catch {
    return undefined;
  }
  const pid = Number.parseInt(text, 10);
  return Number.isInteger(pid) && pid > 1 ? pid : undefined;
}

function isOurs(pid: number, marker: string): boolean {
  return commandLine(pid).includes(marker);
}

/** Empty when there is no such process, or it has ended and only waits to be reaped. */
function commandLine(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
  } catch {
    return '';
  }
}
