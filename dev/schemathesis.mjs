// Schemathesis in a Python environment of its own, kept in the cache. Plain Node.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ToolMissing } from './pinned-tools.mjs';

const installLimitMs = 300_000;
const oldestPython = [3, 11];

/**
 * The path of the `schemathesis` command, installed at the versions and hashes of the requirements file if need be.
 * Throws ToolMissing, with the reason, where there is no Python for it.
 */
export function findSchemathesis(root, requirements) {
  const hash = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 12);
  const folder = join(root, '.token-manager', 'cache', `schemathesis-${hash}`);
  const command = join(folder, 'bin', 'schemathesis');
  // An environment knows its own path, so it is made in place; the stamp says that it is whole.
  const stamp = join(folder, 'whole');
  if (existsSync(stamp)) return command;
  checkPython();
  rmSync(folder, { recursive: true, force: true });
  run('python3', ['-m', 'venv', folder]);
  const flags = ['--quiet', '--disable-pip-version-check', '--no-input', '--only-binary=:all:'];
  run(join(folder, 'bin', 'python'), [
    ...['-m', 'pip', 'install', ...flags, '--require-hashes', '--requirement', requirements],
  ]);
  writeFileSync(stamp, '');
  return command;
}

function checkPython() {
  const { status, stdout } = spawnSync('python3', ['--version'], { encoding: 'utf8' });
  const [major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(stdout ?? '') ?? []).slice(1).map(Number);
  const [wantedMajor, wantedMinor] = oldestPython;
  if (status === 0 && major === wantedMajor && minor >= wantedMinor) return;
  throw new ToolMissing(`there is no Python ${oldestPython.join('.')} or newer`);
}

function run(command, args) {
  const { status, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: installLimitMs,
  });
  if (status !== 0) throw new Error(error?.message ?? stderr.trim());
}
