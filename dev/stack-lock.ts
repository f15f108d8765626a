import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';

import { SetupError } from './setup-error.ts';

/**
 * Makes this process the one that runs the stack, until `release`. The lock of a killed process does
 * not count: it names its process by number and starting time. Throws SetupError.
 */
export function takeStackLock(lockFile: string): { release: () => void } {
  const owner = findLockOwner(lockFile);
  if (owner !== undefined) throw alreadyRunning(owner);
  rmSync(lockFile, { force: true });
  try {
    const own = `${process.pid}\n${startTime(process.pid) ?? ''}\n`;
    writeFileSync(lockFile, own, { flag: 'wx', mode: 0o600 });
  } catch (cause) {
    // Another start came between the two steps.
    const winner = findLockOwner(lockFile);
    if (winner === undefined) throw cause;
    throw alreadyRunning(winner);
  }
  return { release: () => rmSync(lockFile, { force: true }) };
}

/** The process that runs a stack on this data, if one does. */
export function findLockOwner(lockFile: string): number | undefined {
  let lines: string[];
  try {
    lines = readFileSync(lockFile, 'utf8').split('\n');
  } catch {
    return undefined;
  }
  const pid = Number(lines[0]);
  const started = startTime(pid);
  return started !== undefined && started === lines[1] ? pid : undefined;
}

function alreadyRunning(pid: number): SetupError {
  return new SetupError(
    `A stack runs already, as process ${pid}. Use that one, or end it first: kill ${pid}`,
  );
}

/** Undefined when there is no such process. Tells a process from a later one of the same number. */
function startTime(pid: number): string | undefined {
  try {
    if (process.platform !== 'linux') {
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    }
    // proc(5): the name in parentheses may hold anything; state is the first field after it and the
    // start time the twentieth.
    const [state, ...fields] =
      readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return state === 'Z' ? undefined : fields[18];
  } catch {
    return undefined;
  }
}
