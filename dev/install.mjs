// What a clean checkout needs before anything else runs. Plain Node: no package is there yet.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A sentence that says what to install when this Node is too old for `engines`, else undefined. */
export function nodeComplaint(version, engines) {
  const wanted = /^>=(\d+)\.(\d+)/.exec(engines);
  if (wanted === null) throw new Error(`engines.node is not like >=20.19: ${engines}`);
  const [, major, minor] = wanted.map(Number);
  const [ownMajor, ownMinor] = version.replace(/^v/, '').split('.').map(Number);
  if (ownMajor > major || (ownMajor === major && ownMinor >= minor)) return undefined;
  return `Node.js ${major}.${minor} or newer is needed; this is ${version}. Install it from https://nodejs.org.`;
}

/**
 * Does node_modules hold what the lockfile says? `installed` is npm's node_modules/.package-lock.json
 * or undefined. Times say nothing here: a checkout touches files, and npm writes the two in any order.
 */
export function isInstallComplete(lockfile, installed) {
  if (installed === undefined) return false;
  return Object.entries(lockfile.packages)
    .filter(([path]) => path !== '')
    .every(([path, wanted]) => {
      const found = installed.packages[path];
      // Packages for other platforms are optional and stay away.
      if (found === undefined) return wanted.optional === true || wanted.peer === true;
      return found.version === wanted.version;
    });
}

/** Runs `npm ci` if something is missing. Returns whether it did; throws when npm fails. */
export function installIfIncomplete(root) {
  const lockfile = readJson(join(root, 'package-lock.json'));
  const hidden = join(root, 'node_modules', '.package-lock.json');
  const installed = existsSync(hidden) ? readJson(hidden) : undefined;
  if (isInstallComplete(lockfile, installed)) return false;
  console.log('Installing packages (npm ci) …');
  // npm itself may have set NODE_ENV or omit for what runs inside it. Its warnings are of packages' install
  // scripts, which nobody who starts this needs to read; errors still show.
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  const run = spawnSync('npm', ['ci', '--include=dev', ...quiet], {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
  if (run.status !== 0) throw new Error('npm ci failed; its message is above.');
  return true;
}

function readJson(file) {
  return JSON.parse(readFileSync(file, 'utf8'));
}
