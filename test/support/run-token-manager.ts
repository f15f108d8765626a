import { createProgram } from '../../cli/create-program.ts';

/*
 * The token-manager command from the sources, as a process of its own: what differs from the build is
 * only where the Workflow bundle and temporal.config.json lie, and that PostgreSQL may run without fsync.
 */

const bundleVariable = 'TEST_WORKFLOW_BUNDLE';
const configFile = process.env['TEST_CONFIG_FILE'];

await createProgram({
  build: {
    name: 'token-manager',
    version: '0.0.0',
    commit: 'test',
    builtAt: null,
    node: process.version,
    temporalSdk: 'test',
  },
  workflowBundlePath: process.env[bundleVariable] ?? '',
  ...(configFile === undefined ? {} : { configFile }),
  allowVolatileDatabase: process.env['TEST_DURABLE_ONLY'] === undefined,
}).parseAsync();
