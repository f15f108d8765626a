// npm test: every check in order, stopping at the first that fails. Plain Node.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';

import { leftOutStatus } from './deploy-check.mjs';
import { findNode24 } from './node24.mjs';

const smokeFile = 'test/conformance/one-exchange.stack.test.ts';
const smokeName = 'R01';
const resultsFile = join('.token-manager', 'cache', 'test-results.json');

/** The seed stays, so that a change is judged by the same faults as the one before it. */
const enduranceOptions = ['--minutes', '2', '--connections', '120', '--seed', '5', '--quiet'];

const guardOptions = [
  '--quick',
  '--guard',
  '--rounds',
  '2',
  '--only',
  'hot_read_to_bare_hono,stampede_exchanges',
];

/** Quiet checks show what they said only when they fail; the tests report as they go. */
const checks = [
  { name: 'formatting', run: ['prettier', '--check', '--log-level', 'warn', '.'] },
  { name: 'lint', run: ['eslint', '--max-warnings', '0', '.'] },
  { name: 'types', run: ['tsc', '--noEmit', '-p', 'tsconfig.json'] },
  { name: 'unused code', run: ['knip'] },
  { name: 'build', script: join('dev', 'build.mjs') },
  { name: 'sealed format', script: join('dev', 'check-sealed-format.mjs') },
  { name: 'Dockerfile', script: join('dev', 'check-dockerfile.mjs') },
  { name: 'alert rules and dashboard', script: join('dev', 'check-alerts.mjs') },
  { name: 'Kubernetes manifests', script: join('dev', 'check-manifests.mjs') },
];

/** Returns how many checks and tests passed and failed; a failure leaves what follows it out. */
export function runChecks(root) {
  let passed = 0;
  for (const check of checks) {
    const end = runQuietly(root, check);
    if (end === 'failed') return { passed, failed: 1 };
    if (end === 'passed') passed += 1;
  }
  const tests = runTests(root, process.execPath, ['run']);
  passed += tests.passed;
  if (tests.failed > 0) return { passed, failed: tests.failed };
  const again = runOnNode24(root);
  passed += again.passed;
  if (again.failed > 0) return { passed, failed: again.failed };
  const endurance = runEndurance(root);
  passed += endurance.passed;
  if (endurance.failed > 0) return { passed, failed: endurance.failed };
  const bench = runBenchGuard(root);
  return { passed: passed + bench.passed, failed: bench.failed };
}

/** Whether something has become much slower: ratios with generous margins, no times. */
function runBenchGuard(root) {
  console.log('benchmark guard …');
  const program = join('bench', 'run.ts');
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', program, ...guardOptions], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return status === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** Two minutes of faults, at the end because nothing else shall share the machine with them. */
function runEndurance(root) {
  console.log('endurance, 2 minutes …');
  const program = join('test', 'endurance', 'run.ts');
  const { status } = spawnSync(
    process.execPath,
    ['--import', 'tsx', program, ...enduranceOptions],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  return status === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** The unit tests, and one refresh from end to end, on the next Node that is supported. */
function runOnNode24(root) {
  let node;
  try {
    node = findNode24(root);
  } catch (error) {
    console.log(error.message);
    return { passed: 0, failed: 1 };
  }
  if (node === undefined) {
    console.log('Node 24 … left out: this is it, or no package carries it for this platform');
    return { passed: 0, failed: 0 };
  }
  const unit = runTests(root, node, ['run', '--project', 'unit']);
  const smoke = runTests(root, node, ['run', '--project', 'stack', smokeFile, '-t', smokeName]);
  return { passed: unit.passed + smoke.passed, failed: unit.failed + smoke.failed };
}

function runQuietly(root, { name, run, script }) {
  const startedAt = performance.now();
  process.stdout.write(`${name} … `);
  const [command, ...args] =
    script === undefined
      ? [join('node_modules', '.bin', run[0]), ...run.slice(1)]
      : [process.execPath, script];
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
  });
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  if (script !== undefined && status === leftOutStatus) {
    console.log(`left out: ${stdout.trim()}`);
    return 'left out';
  }
  console.log(`${status === 0 ? 'ok' : 'FAILED'} ${seconds} s`);
  if (status === 0) return 'passed';
  process.stdout.write(`${error?.message ?? ''}${stdout ?? ''}${stderr ?? ''}\n`);
  return 'failed';
}

function runTests(root, node, args) {
  const which = node === process.execPath ? '' : ' on Node 24';
  console.log(`tests${which} …`);
  const results = join(root, resultsFile);
  rmSync(results, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${resultsFile}`];
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const { status } = spawnSync(node, [vitest, ...args, ...reporters], {
    cwd: root,
    // One stream, so that nothing of the tests can appear after our own last line.
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const report = existsSync(results) ? JSON.parse(readFileSync(results, 'utf8')) : undefined;
  return countTests(report, status);
}

/**
 * Counts of vitest's JSON report. A run that failed without a failing test (a file that does not load,
 * an unhandled error, a crash) counts as one failure, so that zero failures always means exit code 0.
 */
export function countTests(report, status) {
  const passed = report?.numPassedTests ?? 0;
  const failed = report?.numFailedTests ?? 0;
  return { passed, failed: status === 0 ? failed : Math.max(failed, 1) };
}
