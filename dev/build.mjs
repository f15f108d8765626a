// Builds dist/: the compiled rooms, the files they read, the Workflow bundle and build-info.json.
// Plain Node, so that a clean checkout can run it right after `npm ci`.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const inputsFile = '.inputs.sha256';
const lockPollMs = 200;
/** Beside the sources of tsconfig.build.json, what else ends up in dist/ or decides how it looks. */
const otherInputs = [
  'package.json',
  'package-lock.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'tsconfig.client-cjs.json',
  'dev/build.mjs',
];
const copied = ['oauth/catalogue', 'connections/migrations'];

/** Builds unless dist/ was made from exactly these files at this commit. Returns whether it did; `onBegin` is told before. */
export async function buildIfStale({ onBegin = () => undefined } = {}) {
  if (isBuiltFrom(hashInputs())) return false;
  const unlock = await lock();
  try {
    const inputs = hashInputs();
    // Somebody else may have built while we waited.
    if (isBuiltFrom(inputs)) return false;
    onBegin();
    await build(inputs);
    return true;
  } finally {
    unlock();
  }
}

function isBuiltFrom(inputs) {
  const stamp = join(root, 'dist', inputsFile);
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === inputs;
}

/** Two builds at once would be in each other's way. Waits for a build of another process that lives. */
async function lock() {
  const file = join(root, '.token-manager', 'build.lock');
  mkdirSync(join(root, '.token-manager'), { recursive: true });
  for (;;) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (!isHeld(file)) rmSync(file, { force: true });
    await sleep(lockPollMs);
  }
}

function isHeld(file) {
  try {
    const pid = Number(readFileSync(file, 'utf8'));
    // Empty: it is being written.
    return pid === 0 || process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
}

async function build(inputs) {
  // Built aside and swapped in, so that a failed build leaves the last good one, and a stack that
  // runs from dist/ never sees half of the next.
  const output = join(root, '.token-manager', 'build');
  rmSync(output, { recursive: true, force: true });
  mkdirSync(output, { recursive: true });
  try {
    compile(output);
    for (const folder of copied)
      cpSync(join(root, folder), join(output, folder), { recursive: true });
    await bundleWorkflows(output);
    writeFileSync(join(output, 'build-info.json'), `${JSON.stringify(buildInfo(), null, 2)}\n`);
    writeFileSync(join(output, inputsFile), inputs);
    const previous = `${output}-previous`;
    rmSync(previous, { recursive: true, force: true });
    if (existsSync(join(root, 'dist'))) renameSync(join(root, 'dist'), previous);
    renameSync(output, join(root, 'dist'));
    rmSync(previous, { recursive: true, force: true });
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}

function compile(output) {
  runTsc('tsconfig.build.json', output);
  // The client once more, for callers that require() it.
  const commonJs = join(output, 'client-cjs');
  runTsc('tsconfig.client-cjs.json', commonJs);
  writeFileSync(join(commonJs, 'package.json'), '{ "type": "commonjs" }\n');
}

function runTsc(project, output) {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const args = [tsc, '-p', join(root, project), '--outDir', output];
  execFileSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
}

/** Bundling takes a worker seconds at each start; done here, it starts at once. */
async function bundleWorkflows(output) {
  const workflowsPath = join(output, 'workflows', 'index.js');
  if (!existsSync(workflowsPath)) throw new Error('There is no workflows/index.ts to bundle.');
  const { bundleWorkflowCode, DefaultLogger } = await import('@temporalio/worker');
  const { code } = await bundleWorkflowCode({
    workflowsPath,
    workflowInterceptorModules: [join(output, 'workflows', 'refresh-headers.js')],
    logger: new DefaultLogger('WARN'),
  });
  mkdirSync(join(output, 'worker'), { recursive: true });
  writeFileSync(join(output, 'worker', 'workflow-bundle.js'), code);
}

/** What GET /build answers; commit is `unknown` where nothing tells. */
function buildInfo() {
  const { name, version, dependencies } = readJson('package.json');
  return {
    name,
    version,
    commit: currentCommit(),
    builtAt: new Date().toISOString(),
    node: process.version,
    temporalSdk: dependencies['@temporalio/worker'],
  };
}

function hashInputs() {
  const rooms = readJson('tsconfig.build.json').include;
  const hash = createHash('sha256');
  hash.update(`${currentCommit()}\0${process.version}\0`);
  for (const file of [...otherInputs, ...rooms.flatMap(listFiles)]) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update('\0');
  }
  return hash.digest('hex');
}

function listFiles(folder) {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(root.length))
    .sort();
}

/** BUILD_COMMIT is for a build without the repository, as in deploy/Dockerfile. */
function currentCommit() {
  if ((process.env.BUILD_COMMIT ?? '') !== '') return process.env.BUILD_COMMIT;
  try {
    const options = { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] };
    return execFileSync('git', ['rev-parse', 'HEAD'], options).trim();
  } catch {
    return 'unknown';
  }
}

function readJson(file) {
  return JSON.parse(readFileSync(join(root, file), 'utf8'));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const unlock = await lock();
  try {
    await build(hashInputs());
  } finally {
    unlock();
  }
}
