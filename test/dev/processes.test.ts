import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { endLeftover } from '../../dev/processes.ts';
import { findLockOwner, takeStackLock } from '../../dev/stack-lock.ts';

let directory: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'processes-'));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

/** A process whose command line holds `marker`, and its pid file. */
async function startNamed(marker: string): Promise<{ child: ChildProcess; pidFile: string }> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)', marker]);
  children.push(child);
  await once(child, 'spawn');
  const pidFile = join(directory, 'server.pid');
  writeFileSync(pidFile, `${child.pid ?? ''}\nother lines\n`);
  return { child, pidFile };
}

test('a server that a killed run left is ended', async () => {
  const { child, pidFile } = await startNamed(directory);
  const ended = once(child, 'exit');
  const options = { pidFile, marker: directory, what: 'The server', signal: 'SIGTERM' } as const;
  expect(await endLeftover(options)).toBe(true);
  expect(await ended).toEqual([null, 'SIGTERM']);
  expect(existsSync(pidFile)).toBe(false);
});

test('a process that only has the number of a former server is left alone', async () => {
  const { child, pidFile } = await startNamed('somebody else');
  const options = { pidFile, marker: directory, what: 'The server', signal: 'SIGTERM' } as const;
  expect(await endLeftover(options)).toBe(false);
  expect(child.exitCode ?? child.signalCode).toBeNull();
  expect(existsSync(pidFile)).toBe(false);
});

test('a second stack on the same data is refused until the first releases', () => {
  const lockFile = join(directory, 'stack.pid');
  const lock = takeStackLock(lockFile);
  expect(findLockOwner(lockFile)).toBe(process.pid);
  expect(() => takeStackLock(lockFile)).toThrow(`runs already, as process ${process.pid}`);
  lock.release();
  expect(findLockOwner(lockFile)).toBeUndefined();
  takeStackLock(lockFile).release();
});

test('the lock of a killed stack does not count, also when its number is used again', () => {
  const lockFile = join(directory, 'stack.pid');
  writeFileSync(lockFile, `${process.pid}\nstarted at another time\n`);
  takeStackLock(lockFile).release();
});
