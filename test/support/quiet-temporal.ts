import { DefaultLogger, Runtime } from '@temporalio/worker';

// Once a test file (vitest forks a process for each), before its first connection.
Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('ERROR') });
