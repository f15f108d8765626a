import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';

import { ensureNexusEndpoint } from './nexus-endpoint.ts';
import { assertPortIsFree, isListening } from './ports.ts';
import { endLeftover, hasEnded, stopChild } from './processes.ts';
import { SetupError } from './setup-error.ts';

const startTimeoutMs = 60_000;
const startPollMs = 50;
const connectTimeoutMs = 1_000;
const stopGraceMs = 10_000;
const logTailLines = 15;

export interface TemporalDevServerOptions {
  /** The Temporal CLI (see findTemporalCli). */
  cli: string;
  port: number;
  /** Absent: no UI. */
  uiPort?: number;
  /** Where a person chooses other ports; named when one is busy. */
  portSetting: string;
  namespace: string;
  retentionMs: number;
  /** Where histories are kept; absent: in memory only. Its pid file stands beside it. */
  dbFilename?: string;
  logFile: string;
  /** Dynamic configuration of the server, such as `{ 'matching.enableFairness': true }`. */
  dynamicConfig: Record<string, unknown>;
  /** Names and types of the search attributes that the namespace gets. */
  searchAttributes: Record<string, string>;
  /** To the Task Queue where `ensureFresh` runs; absent: none. */
  nexusEndpoint?: { name: string; taskQueue: string };
}

export interface TemporalDevServer {
  pid: number;
  address: string;
  /** Resolves with a readable reason when the server has ended, wanted or not. */
  ended: Promise<string>;
  stop(): Promise<void>;
}

/**
 * Starts `temporal server start-dev` on 127.0.0.1 (it has no authorizer) with our search attributes
 * and Nexus endpoint, and waits until the namespace answers and the attributes can be used. A server that a killed run
 * left on the same database file is ended first. Throws SetupError.
 */
export async function startTemporalDevServer(
  options: TemporalDevServerOptions,
): Promise<TemporalDevServer> {
  const { dbFilename, uiPort } = options;
  if (dbFilename !== undefined) {
    mkdirSync(dirname(dbFilename), { recursive: true });
    await endLeftoverTemporal(dbFilename);
  }
  await assertPortIsFree(options.port, 'Temporal', options.portSetting);
  if (uiPort !== undefined) await assertPortIsFree(uiPort, 'the Temporal UI', options.portSetting);

  const address = `127.0.0.1:${options.port}`;
  const child = spawnServer(options);
  const pidFile = dbFilename === undefined ? undefined : pidFileOf(dbFilename);
  if (pidFile !== undefined) writeFileSync(pidFile, String(child.pid), { mode: 0o600 });
  const stop = async (): Promise<void> => {
    await stopChild(child, 'SIGTERM', stopGraceMs);
    if (pidFile !== undefined) rmSync(pidFile, { force: true });
  };
  try {
    await waitUntilReady(child, address, options);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    pid: child.pid ?? 0,
    address,
    ended: once(child, 'exit').then(
      () => `the Temporal dev server has ended; its log is ${options.logFile}`,
    ),
    stop,
  };
}

/** Ends the server that a killed run left on this database file, if there is one. Throws SetupError. */
export async function endLeftoverTemporal(dbFilename: string): Promise<void> {
  await endLeftover({
    pidFile: pidFileOf(dbFilename),
    marker: dbFilename,
    what: 'The Temporal dev server',
    signal: 'SIGTERM',
  });
}

function pidFileOf(dbFilename: string): string {
  return `${dbFilename}.pid`;
}

function spawnServer(options: TemporalDevServerOptions): ChildProcess {
  const args = [
    ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(options.port)],
    // A profile or variables meant for another cluster must not reach this server.
    ...['--disable-config-file', '--disable-config-env', '--log-level', 'error'],
    ...['--namespace', options.namespace],
    ...(options.uiPort === undefined
      ? ['--headless']
      : ['--ui-port', String(options.uiPort), '--ui-disable-news-fetch']),
    ...(options.dbFilename === undefined
      ? []
      : [
          ...['--db-filename', options.dbFilename],
          ...['--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL'],
        ]),
    ...Object.entries(options.searchAttributes).flatMap(([name, type]) => [
      '--search-attribute',
      `${name}=${type}`,
    ]),
    ...Object.entries(options.dynamicConfig).flatMap(([key, value]) => [
      '--dynamic-config-value',
      `${key}=${JSON.stringify(value)}`,
    ]),
  ];
  const log = openSync(options.logFile, 'w', 0o600);
  try {
    // Detached, so that Ctrl-C in a terminal reaches only us: gateway and worker drain first.
    return spawn(options.cli, args, { detached: true, stdio: ['ignore', log, log] });
  } finally {
    closeSync(log);
  }
}

async function waitUntilReady(
  child: ChildProcess,
  address: string,
  options: TemporalDevServerOptions,
): Promise<void> {
  const patience = Math.ceil(startTimeoutMs / startPollMs);
  let refusal: unknown;
  child.on('error', (error) => (refusal = error));
  for (let poll = 0; poll < patience && !hasEnded(child); poll += 1) {
    try {
      // A gRPC channel that was refused once waits a second before it tries again; a socket does not.
      if (!(await isListening(options.port))) throw new Error('the port does not answer yet');
      await prepareNamespace(address, options);
      return;
    } catch (error) {
      refusal = error;
      await sleep(startPollMs);
    }
  }
  const tail = readFileSync(options.logFile, 'utf8').trimEnd().split('\n').slice(-logTailLines);
  throw new SetupError(
    `The Temporal dev server did not start. The end of its log ${options.logFile}:\n` +
      tail.join('\n'),
    { cause: refusal },
  );
}

async function prepareNamespace(address: string, options: TemporalDevServerOptions): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: connectTimeoutMs });
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({
      namespace: options.namespace,
    });
    const names = Object.keys(options.searchAttributes);
    const missing = names.filter((name) => !(name in customAttributes));
    if (missing.length > 0) throw new Error(`search attributes missing: ${missing.join(', ')}`);
    await connection.workflowService.updateNamespace({
      namespace: options.namespace,
      config: { workflowExecutionRetentionTtl: msToTs(options.retentionMs) },
    });
    const { namespace, nexusEndpoint } = options;
    if (nexusEndpoint !== undefined) {
      await ensureNexusEndpoint(connection, { ...nexusEndpoint, namespace });
    }
  } finally {
    await connection.close();
  }
}
