import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** Knows every process of the run, and ends them when this process ends in whatever way. */
export interface Reaper {
  watch(pid: number): void;
  /** The process has ended; its number may mean another one soon. */
  forget(pid: number): void;
  /** All have ended: only the folder is removed. */
  close(): Promise<void>;
}

/** `folder` holds the run's data and is removed at the end. */
export function startReaper(folder: string): Reaper {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'reaper.mjs'), folder], {
    // Its own process group: Ctrl-C in a terminal must not end it before its work is done.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.stdin.on('error', () => undefined);
  return {
    watch: (pid) => void child.stdin.write(`+${pid}\n`),
    forget: (pid) => void child.stdin.write(`-${pid}\n`),
    async close() {
      const exited = once(child, 'exit');
      child.stdin.end('done\n');
      await exited;
    },
  };
}
