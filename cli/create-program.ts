import { Command } from 'commander';
import { readConfig } from '../platform/config.ts';
import { loadDatabaseConfig } from '../platform/load-database-config.ts';
import { createCallersCommand } from './callers/callers-command.ts';
import { examine } from './doctor/doctor.ts';
import { renderJson, renderText, worstState } from './doctor/render-findings.ts';
import { createKeysCommand } from './keys/keys-command.ts';
import { createAppsCommand } from './operations/apps-command.ts';
import { createConnectionsCommand } from './operations/connections-command.ts';
import { createEventsCommand } from './operations/events-command.ts';
import { migrateOnce } from './prepare-database.ts';
import { createProvidersCommand } from './providers/providers-command.ts';
import { readableError } from './readable-error.ts';
import { runProcess, type ProcessSetting } from './run-process.ts';

const afterHelp = `
Settings come from the environment and temporal.config.json; the README lists them. Needed are
  DATABASE_URL       postgres://user:password@host:5432/database
  KMS_KEY_NAME       the Cloud KMS key that wraps the data keys, or
  LOCAL_KEY_FILE     32 bytes in base64 without a cloud (migrate needs neither)
  TEMPORAL_ADDRESS   host:port, unless it is localhost:7233

Exit codes: 0 ended as asked, 1 could not start or go on (doctor: found a fault), 2 wrong usage, 128 + n ended by a
second signal n.`;

const usageExitCode = 2;

/** The operators' command line. */
export function createProgram(setting: ProcessSetting): Command {
  const program = new Command('token-manager')
    .description('Keeps OAuth tokens fresh: one exchange per connection, whoever asks.')
    .version(setting.build.version)
    .addHelpText('after', afterHelp);
  program
    .command('gateway')
    .description('serve the HTTP interface on PORT')
    .action(async () => {
      // Loaded here, for a gateway has no use for what a worker takes to load, and no command for both.
      const { startGatewayProcess } = await import('../gateway/main.ts');
      await runProcess(startGatewayProcess, setting);
    });
  program
    .command('worker')
    .description('refresh tokens: poll the Task Queue of Temporal')
    .action(async () => {
      const { startWorkerProcess } = await import('../worker/main.ts');
      await runProcess(startWorkerProcess, setting);
    });
  program
    .command('all-in-one')
    .description('gateway and worker in one process, for small installations')
    .action(async () => {
      const { startAllInOneProcess } = await import('./all-in-one.ts');
      await runProcess(startAllInOneProcess, setting);
    });
  program
    .command('migrate')
    .description('bring the database schema up to date and exit; for MIGRATE_ON_START=false')
    .action(runMigrations);
  program
    .command('doctor')
    .description(
      'check settings, database, Temporal, keys, certificates and providers, and say what to do',
    )
    .option('--json', 'as JSON: {"status", "counts", "findings"}')
    .action((options: { json?: boolean }) => runDoctor(setting, options.json === true));
  program
    .addCommand(createCallersCommand())
    .addCommand(createAppsCommand(setting))
    .addCommand(createConnectionsCommand(setting))
    .addCommand(createEventsCommand(setting))
    .addCommand(createProvidersCommand())
    .addCommand(createKeysCommand(setting.configFile));
  exitByKind(program);
  return program;
}

/** What was asked for wrongly ends with 2, so that scripts can tell it from what failed. */
function exitByKind(command: Command): void {
  command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : usageExitCode));
  for (const subcommand of command.commands) exitByKind(subcommand);
}

async function runDoctor({ configFile }: ProcessSetting, asJson: boolean): Promise<void> {
  const { config, faults } = readConfig(configFile === undefined ? {} : { configFile });
  const findings = await examine(config, faults);
  const text = asJson ? renderJson(findings) : renderText(findings);
  const exitCode = worstState(findings) === 'fault' ? 1 : 0;
  // A look-up of a name may still hang, and nothing can end it but the end of the process.
  process.stdout.write(`${text}\n`, () => process.exit(exitCode));
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
