import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

import { assertPortIsFree } from './ports.ts';
import { findPostgresBinaries } from './postgres-binaries.ts';
import { endLeftover, hasEnded, stopChild } from './processes.ts';
import { SetupError } from './setup-error.ts';
import { planUnprivilegedLaunch, type UnprivilegedLaunch } from './unprivileged-launch.ts';

const superuser = 'postgres';
const passwordBytes = 24;
const maxConnections = 200;
const startTimeoutMs = 60_000;
const startPollMs = 25;
const stopGraceMs = 15_000;
const logTailLines = 15;

export interface EmbeddedPostgresOptions {
  /** An absolute path; its password and log stand beside it as `<path>.password` and `<path>.log`. */
  dataDirectory: string;
  port: number;
  /** Where a person chooses another port; named when this one is busy. */
  portSetting: string;
  /** Tests may switch fsync off: their data need not survive the machine. */
  fsync: boolean;
}

export interface EmbeddedPostgres {
  pid: number;
  /** The server's major version and patch level, such as `18.4`. */
  version: string;
  /** Connection string of a database of this server, with user and password. */
  url(database: string): string;
  /** Resolves with a readable reason when the server has ended, wanted or not. */
  ended: Promise<string>;
  stop(): Promise<void>;
}

/**
 * Starts PostgreSQL 18 on 127.0.0.1, on existing data if there is any, and waits until it answers. A
 * server that a killed run left on the same data is ended first. Throws SetupError.
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const { dataDirectory, port } = options;
  await endLeftoverPostgres(dataDirectory);
  await assertPortIsFree(port, 'PostgreSQL', options.portSetting);

  const binaries = findPostgresBinaries();
  mkdirSync(dirname(dataDirectory), { recursive: true });
  const launch = planUnprivilegedLaunch([dirname(dataDirectory), binaries.postgres]);
  const password = ensureCluster(options, binaries.initdb, launch);
  const url = (database: string): string =>
    `postgres://${superuser}:${password}@127.0.0.1:${port}/${database}`;

  const logFile = `${dataDirectory}.log`;
  const child = spawnServer(binaries.postgres, options, launch, logFile);
  try {
    const version = await waitUntilReady(child, url(superuser), logFile);
    return {
      pid: child.pid ?? 0,
      version,
      url,
      ended: once(child, 'exit').then(() => `PostgreSQL has ended; its log is ${logFile}`),
      // SIGINT is the fast shutdown: open sessions are ended, the data is written out.
      stop: () => stopChild(child, 'SIGINT', stopGraceMs),
    };
  } catch (error) {
    await stopChild(child, 'SIGINT', stopGraceMs);
    throw error;
  }
}

/** Ends the server that a killed run left on this data, if there is one. Throws SetupError. */
export async function endLeftoverPostgres(dataDirectory: string): Promise<void> {
  await endLeftover({
    pidFile: join(dataDirectory, 'postmaster.pid'),
    marker: dataDirectory,
    what: 'PostgreSQL',
    signal: 'SIGINT',
  });
}

/** Makes the cluster if there is none. Returns the superuser's password. */
function ensureCluster(
  options: EmbeddedPostgresOptions,
  initdb: string,
  launch: UnprivilegedLaunch,
): string {
  const { dataDirectory } = options;
  const passwordFile = `${dataDirectory}.password`;
  if (existsSync(dataDirectory)) {
    if (existsSync(passwordFile)) return readFileSync(passwordFile, 'utf8').trim();
    throw new SetupError(
      `${passwordFile} is missing, so the data beside it cannot be used. ` +
        'Put it back, or delete all local data: npm run reset',
    );
  }
  const password = randomBytes(passwordBytes).toString('hex');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  // A half-made cluster never bears the final name, so an interrupted first start is harmless.
  const unfinished = `${dataDirectory}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { mode: 0o700 });
  launch.own(unfinished);
  const flags = options.fsync ? [] : ['--no-sync'];
  runInitdb([...launch.prefix, initdb, `--pgdata=${unfinished}`, ...flags], password, launch);
  renameSync(unfinished, dataDirectory);
  return password;
}

function runInitdb(command: string[], password: string, launch: UnprivilegedLaunch): void {
  const scratch = mkdtempSync(join(tmpdir(), 'token-manager-initdb-'));
  const scratchFile = join(scratch, 'password');
  try {
    writeFileSync(scratchFile, password, { mode: 0o600 });
    launch.own(scratch);
    launch.own(scratchFile);
    const [program, ...args] = [
      ...command,
      `--username=${superuser}`,
      `--pwfile=${scratchFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      // The built-in provider gives every machine the same order, whatever locales it has.
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--no-instructions',
    ];
    const run = spawnSync(program, args, { ...launch.options, cwd: '/', encoding: 'utf8' });
    if (run.status !== 0) {
      throw new SetupError(
        'PostgreSQL could not make its data directory: ' +
          (run.error?.message ?? run.stderr.trim()),
      );
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function spawnServer(
  postgres: string,
  options: EmbeddedPostgresOptions,
  launch: UnprivilegedLaunch,
  logFile: string,
): ChildProcess {
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: String(maxConnections),
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...(options.fsync ? {} : { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' }),
  };
  const serverArgs = [
    '-D',
    options.dataDirectory,
    '-p',
    String(options.port),
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ];
  const [command = '', ...args] = [...launch.prefix, postgres, ...serverArgs];
  const log = openSync(logFile, 'w', 0o600);
  try {
    // Detached, so that Ctrl-C in a terminal reaches only us: gateway and worker drain first.
    return spawn(command, args, {
      ...launch.options,
      cwd: '/',
      detached: true,
      stdio: ['ignore', log, log],
    });
  } finally {
    closeSync(log);
  }
}

async function waitUntilReady(child: ChildProcess, url: string, logFile: string): Promise<string> {
  const patience = Math.ceil(startTimeoutMs / startPollMs);
  let refusal: unknown;
  child.on('error', (error) => (refusal = error));
  for (let poll = 0; poll < patience && !hasEnded(child); poll += 1) {
    const client = new pg.Client({ connectionString: url });
    // A connection ended by the server while it starts must not become an uncaught error.
    client.on('error', () => undefined);
    try {
      await client.connect();
      const { rows } = await client.query<{ server_version: string }>('show server_version');
      return rows[0]?.server_version ?? 'unknown';
    } catch (error) {
      refusal = error;
      await sleep(startPollMs);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
  const tail = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-logTailLines).join('\n');
  throw new SetupError(`PostgreSQL did not start. The end of its log ${logFile}:\n${tail}`, {
    cause: refusal,
  });
}
