// How a check that needs a tool ends: quietly, with what is wrong, or left out because the tool cannot be had.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { mayBeLeftOut } from './pinned-tools.mjs';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** The exit code that says so; its last line of output is the reason. */
export const leftOutStatus = 77;

/** Runs `check`, which throws what is wrong, and sets the exit code. */
export async function runDeployCheck(check) {
  try {
    await check();
  } catch (error) {
    console.log(error.message);
    process.exitCode = mayBeLeftOut(error) ? leftOutStatus : 1;
  }
}

/** The standard output of a program; throws all that it said if it fails. */
export function output(program, args, options = {}) {
  const settings = { encoding: 'utf8', cwd: root, maxBuffer: 2 ** 26, ...options };
  const { status, stdout, stderr, error } = spawnSync(program, args, settings);
  if (status !== 0) throw new Error(error?.message ?? `${stdout}${stderr}`.trim());
  return stdout;
}
