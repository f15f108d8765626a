import { readFileSync } from 'node:fs';

/** Of `/proc/<pid>/stat`, which counts in hundredths of a second on every Linux that Node runs on. */
const msPerTick = 10;
const userTimeField = 11;
const systemTimeField = 12;
const bytesPerKiB = 1_024;

/** CPU time that a process has taken so far, user and system, in milliseconds. Linux only. */
export function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name in brackets may hold spaces; fields are counted after it, beginning with the third.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return msPerTick * (Number(fields[userTimeField]) + Number(fields[systemTimeField]));
}

/** Resident memory of a process in bytes. Linux only. */
export function rssBytesOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return bytesPerKiB * Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? NaN);
}
