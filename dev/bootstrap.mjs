// npm start, npm run gateway, npm run worker, npm test and npm run reset on a clean checkout. Plain Node: no package is there yet.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';

import { installIfIncomplete, nodeComplaint } from './install.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

const commands = {
  async start() {
    prepare();
    await build();
    // In this process, so that signals, also kill -9, reach the stack itself.
    const { start } = await import('../dist/dev/start.js');
    await start(root);
  },

  gateway: runTokenManager,
  worker: runTokenManager,

  async test() {
    let result = { passed: 0, failed: 1 };
    try {
      prepare();
      const { runChecks } = await import('./run-checks.mjs');
      result = runChecks(root);
    } catch (error) {
      console.log(error.message);
    }
    process.exitCode = result.failed === 0 ? 0 : 1;
    console.log(`${result.passed} passed, ${result.failed} failed`);
  },

  async reset() {
    if (!existsSync(join(root, '.token-manager'))) {
      console.log('There is no local data.');
      return;
    }
    prepare();
    const { register } = await import('tsx/esm/api');
    register();
    const { reset } = await import('./reset.ts');
    await reset(root);
  },
};

/** The command of the same name; it reads the arguments of this process. */
async function runTokenManager() {
  prepare();
  await build();
  await import('../dist/cli/token-manager.js');
}

async function build() {
  const { buildIfStale } = await import('./build.mjs');
  const startedAt = performance.now();
  const onBegin = () => console.log('Building …');
  const what = (await buildIfStale({ onBegin })) ? 'Build' : 'Build is up to date';
  console.log(`${what} … ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`);
}

function prepare() {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const complaint = nodeComplaint(process.version, engines.node);
  if (complaint !== undefined) throw new Error(complaint);
  installIfIncomplete(root);
}

const command = commands[process.argv[2]];
if (command === undefined) {
  console.error(`Usage: node dev/bootstrap.mjs ${Object.keys(commands).join('|')}`);
  process.exit(2);
}
try {
  await command();
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
