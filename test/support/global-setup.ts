import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import type { TestProject } from 'vitest/node';

import { startEmbeddedPostgres } from '../../dev/embedded-postgres.ts';
import { findFreePort } from '../../dev/ports.ts';
import { startTestTemporal } from './temporal-server.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Connection string of the tests' PostgreSQL, database `postgres`, superuser. */
    postgresUrl: string;
    /** `host:port` of the tests' Temporal. */
    temporalAddress: string;
    temporalNamespace: string;
    /** The Workflow bundle of the sources, built once for the run. */
    workflowBundlePath: string;
  }
}

const temporalNamespace = 'default';

/** One PostgreSQL and one Temporal for a whole run of the project `stack`; nothing is kept. */
export default async function globalSetup(project: TestProject): Promise<() => Promise<void>> {
  const directory = mkdtempSync(join(tmpdir(), 'token-manager-test-'));
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(directory, 0o755);
  const kill = killAtExit();
  const workflowBundlePath = join(directory, 'workflow-bundle.js');
  const [postgres, temporal, bundle] = await Promise.all([
    startEmbeddedPostgres({
      dataDirectory: join(directory, 'postgres'),
      port: await findFreePort(),
      portSetting: 'run the tests again',
      fsync: false,
    }).then(kill.add),
    startTestTemporal({
      cliPath: process.env['TEMPORAL_CLI_PATH'],
      namespace: temporalNamespace,
      directory,
    }).then(kill.add),
    bundleWorkflowCode({
      workflowsPath: fileURLToPath(new URL('../../workflows/index.ts', import.meta.url)),
      workflowInterceptorModules: [
        fileURLToPath(new URL('../../workflows/refresh-headers.ts', import.meta.url)),
      ],
      logger: new DefaultLogger('WARN'),
    }),
  ]);
  writeFileSync(workflowBundlePath, bundle.code);
  project.provide('postgresUrl', postgres.url('postgres'));
  project.provide('temporalAddress', temporal.address);
  project.provide('temporalNamespace', temporalNamespace);
  project.provide('workflowBundlePath', workflowBundlePath);
  return async () => {
    await Promise.all([postgres.stop(), temporal.stop()]);
    kill.forget();
    rmSync(directory, { recursive: true, force: true });
  };
}

/** The servers are detached: a run that ends without its teardown must take them along. */
function killAtExit(): {
  add: <Server extends { pid: number }>(server: Server) => Server;
  forget: () => void;
} {
  const pids: number[] = [];
  const killAll = (): void => {
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended already.
      }
    }
  };
  process.once('exit', killAll);
  return {
    add(server) {
      pids.push(server.pid);
      return server;
    },
    forget: () => process.removeListener('exit', killAll),
  };
}
