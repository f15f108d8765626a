import { join } from 'node:path';

import { searchAttributeNames } from '../../client/contract.ts';
import { findFreePort } from '../../dev/ports.ts';
import { findTemporalCli } from '../../dev/temporal-cli.ts';
import { startTemporalDevServer, type TemporalDevServer } from '../../dev/temporal-dev-server.ts';

const cacheDirectory = join(import.meta.dirname, '..', '..', '.token-manager', 'cache');
const retentionMs = 86_400_000;

/** A Temporal dev server of the tests: in memory and on a free port unless told, without a UI. */
export async function startTestTemporal(options: {
  cliPath: string | undefined;
  namespace: string;
  /** Where its log goes. */
  directory: string;
  /** For a server that is to come back where it was, with what it knew. */
  port?: number;
  dbFilename?: string;
}): Promise<TemporalDevServer> {
  return startTemporalDevServer({
    cli: await findTemporalCli({
      cliPath: options.cliPath,
      cacheDirectory,
      onDownload: (source) => process.stderr.write(`Downloading the Temporal CLI: ${source}\n`),
    }),
    port: options.port ?? (await findFreePort()),
    portSetting: 'run the tests again',
    namespace: options.namespace,
    retentionMs,
    ...(options.dbFilename !== undefined && { dbFilename: options.dbFilename }),
    logFile: join(options.directory, 'temporal.log'),
    dynamicConfig: {
      // The default paces every step of a Workflow at 50 ms.
      'history.transferProcessorMaxPollRPS': 2000,
      'matching.enableFairness': true,
    },
    searchAttributes: Object.fromEntries(searchAttributeNames.map((name) => [name, 'Keyword'])),
  });
}
