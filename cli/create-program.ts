import { Command } from 'commander';
import { startGatewayProcess } from '../gateway/main.ts';
import { loadDatabaseConfig } from '../platform/load-database-config.ts';
import { startWorkerProcess } from '../worker/main.ts';
import { startAllInOne } from './all-in-one.ts';
import { migrateOnce } from './prepare-database.ts';
import { readableError } from './readable-error.ts';
import {
  runProcess,
  type ProcessParts,
  type ProcessSetting,
  type RunningProcess,
} from './run-process.ts';

const afterHelp = `
Settings come from the environment and temporal.config.json; the README lists them. Needed are
  DATABASE_URL       postgres://user:password@host:5432/database
  LOCAL_KEY_FILE     32 bytes in base64: the key of a service without Cloud KMS (migrate needs none)
  TEMPORAL_ADDRESS   host:port, unless it is localhost:7233

Exit codes: 0 ended as asked, 1 could not start or go on, 128 + n ended by a second signal n.`;

/** The operators' command line. */
export function createProgram(setting: ProcessSetting): Command {
  const program = new Command('token-manager')
    .description('Keeps OAuth tokens fresh: one exchange per connection, whoever asks.')
    .version(setting.build.version)
    .addHelpText('after', afterHelp);
  program
    .command('gateway')
    .description('serve the HTTP interface on PORT')
    .action(() => runProcess(startGatewayProcess, setting));
  program
    .command('worker')
    .description('refresh tokens: poll the Task Queue of Temporal')
    .action(() => runProcess(startWorkerProcess, setting));
  program
    .command('all-in-one')
    .description('gateway and worker in one process, for small installations')
    .action(() => runProcess(startAllInOneProcess, setting));
  program
    .command('migrate')
    .description('bring the database schema up to date and exit; for MIGRATE_ON_START=false')
    .action(runMigrations);
  return program;
}

async function startAllInOneProcess(parts: ProcessParts): Promise<RunningProcess> {
  const allInOne = await startAllInOne(parts);
  const { url, metricsUrl } = allInOne.gateway;
  parts.log.info({ url, metrics_url: metricsUrl }, 'gateway listens');
  return { failed: allInOne.worker.running, close: () => allInOne.close() };
}

async function runMigrations(): Promise<void> {
  try {
    const ran = await migrateOnce(loadDatabaseConfig());
    console.log(ran.length === 0 ? 'The schema is up to date.' : `Migrated: ${ran.join(', ')}`);
  } catch (error) {
    console.error(readableError(error));
    process.exitCode = 1;
  }
}
