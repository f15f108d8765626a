import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import { createLocalKeyFile } from '../../vault/local-key-file.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import {
  startServiceProcess,
  type ServiceCommand,
  type ServiceProcess,
} from './service-process.ts';
import type { Answer } from './test-stack.ts';

/** Gateways and workers as processes of their own, over a database of their own. */
export interface ServiceCluster {
  database: TestDatabase;
  /** What every process of the cluster is started with. */
  env: Record<string, string>;
  /** The Task Queue of sweeps, revocations and re-seals. */
  sweepQueue: string;
  /** Starts a process; `close` ends those that still run. */
  start(command: ServiceCommand, env?: Record<string, string>): Promise<ServiceProcess>;
  /** Starts one and waits until `/ready` says `ready`. */
  startReady(command: 'gateway' | 'worker' | 'all-in-one'): Promise<ServiceProcess>;
  close(): Promise<void>;
}

export async function createServiceCluster(
  options: {
    temporalAddress?: string;
    /** Members of `refresh` of temporal.config.json. */
    refresh?: Record<string, unknown>;
  } = {},
): Promise<ServiceCluster> {
  const database = await createTestDatabase();
  const folder = mkdtempSync(join(tmpdir(), 'token-manager-cluster-'));
  const keyFile = join(folder, 'local.key');
  await createLocalKeyFile(keyFile);
  // Test files share one Temporal: a Task Queue of its own keeps each cluster's work with its workers.
  const configFile = join(folder, 'temporal.config.json');
  const { refresh = {} } = options;
  const queue = `test-${randomUUID()}`;
  writeFileSync(
    configFile,
    JSON.stringify({
      taskQueues: { refresh: queue, wait: `${queue}-wait`, sweep: `${queue}-sweep` },
      refresh,
      sweep: { enabled: false },
    }),
  );
  const env = {
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: options.temporalAddress ?? inject('temporalAddress'),
    TEMPORAL_NAMESPACE: inject('temporalNamespace'),
    LOCAL_KEY_FILE: keyFile,
    EGRESS_ALLOW: '127.0.0.1',
    TEST_CONFIG_FILE: configFile,
    TEST_WORKFLOW_BUNDLE: inject('workflowBundlePath'),
  };
  const started: ServiceProcess[] = [];

  async function start(command: ServiceCommand, more: Record<string, string> = {}) {
    const service = await startServiceProcess(command, { ...env, ...more });
    started.push(service);
    return service;
  }

  return {
    database,
    env,
    sweepQueue: `${queue}-sweep`,
    start,
    async startReady(command) {
      const service = await start(command);
      await service.waitUntil('ready');
      return service;
    },
    async close() {
      for (const service of started) {
        // One that a test has stopped cannot end otherwise.
        if (!service.hasExited()) service.kill('SIGKILL');
      }
      await Promise.all(started.map(({ exited }) => exited));
      await database.drop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Requests to one gateway. */
export function callerOf({ origin }: Pick<ServiceProcess, 'origin'>) {
  return {
    async call(method: string, path: string, body?: unknown): Promise<Answer> {
      const response = await fetch(`${origin}${path}`, {
        method,
        ...(body !== undefined && {
          body: JSON.stringify(body),
          headers: { 'content-type': 'application/json' },
        }),
      });
      const text = await response.text();
      return {
        status: response.status,
        headers: response.headers,
        body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
      };
    },
  };
}
