import { Command, InvalidArgumentError } from 'commander';
import { countKeyUses } from '../../connections/reseal-store.ts';
import { replaceablePurposes, type ReplaceablePurpose } from '../../vault/data-key-store.ts';
import { retiredKeySealsForMs } from '../../vault/current-data-keys.ts';
import { rewrapDataKeys } from '../../vault/rewrap-data-keys.ts';
import { rotateDataKeys } from '../../vault/rotate-data-keys.ts';
import { readableError } from '../readable-error.ts';
import { dropKeys, historiesNeedKeysForMs } from './drop-keys.ts';
import { renderReport, reportKeys } from './key-report.ts';
import { withKeyTools, type KeyTools } from './open-key-tools.ts';
import { followReseal, readReseal, startReseal, type ResealStanding } from './reseal-run.ts';
import { createProgressLine, describeProgress } from './show-progress.ts';

const dataKeysMax = 10_000;
/** Leaves PostgreSQL to those who wait; 100,000 rows take some four minutes. */
const standardRowsPerSecond = 500;

const help = `
Data keys seal tokens; the wrapping key (Cloud KMS or LOCAL_KEY_FILE) wraps data keys. The settings are those of
the service. docs/security.md says when to do what.`;

interface ResealOptions {
  wait: boolean;
  rowsPerSecond: number;
}

/** `token-manager keys`: data keys of the service whose settings it runs with. */
export function createKeysCommand(configFile: string | undefined): Command {
  const command = new Command('keys')
    .description('the keys that tokens are sealed with: state, rotation, removal')
    .addHelpText('after', help);
  const run = (work: (tools: KeyTools) => Promise<void>) =>
    tellFailure(() => withKeyTools(configFile, work));
  command
    .command('status')
    .description('show data keys, what wraps them, and how much each of them seals')
    .option('--json', 'as JSON: {"data_keys", "key_versions", "reseal"}')
    .action((options: { json?: boolean }) =>
      run((tools) => showStatus(tools, options.json === true)),
    );
  withPace(
    command
      .command('rotate')
      .description('make new data keys, current at once, and seal everything anew with them')
      .option(
        '--purposes <list>',
        `of ${replaceablePurposes.join(',')}; all of them`,
        readPurposes,
      ),
  ).action((options: ResealOptions & { purposes?: ReplaceablePurpose[] }) =>
    run(async (tools) => {
      await rotate(tools, options.purposes ?? replaceablePurposes);
      await reseal(tools, options);
    }),
  );
  withPace(
    command
      .command('reseal')
      .description('seal anew what retired data keys seal, without making new ones'),
  ).action((options: ResealOptions) => run((tools) => reseal(tools, options)));
  command
    .command('rewrap')
    .description('wrap the same data keys with what wraps new ones now: KEY_PROVIDER, KMS_KEY_NAME')
    .action(() => run(rewrap));
  command
    .command('drop [ids...]')
    .description(
      'delete retired data keys for good: those named, or all that nothing needs any more',
    )
    .action((ids: string[]) => run((tools) => drop(tools, ids)));
  return command;
}

function withPace(command: Command): Command {
  return command
    .option(
      '--rows-per-second <n>',
      'at most; a slow database gets rests beside that',
      readCount,
      standardRowsPerSecond,
    )
    .option('--no-wait', 'start it and return');
}

async function showStatus({ config, pool, dataKeys, temporal }: KeyTools, asJson: boolean) {
  const sweepQueue = config.temporal.taskQueues.sweep;
  const keys = await dataKeys.list(dataKeysMax);
  const report = reportKeys(keys, await countKeyUses(pool), new Date());
  // What lies in PostgreSQL is told without Temporal too.
  const standing = await readReseal(temporal, sweepQueue).catch(() => undefined);
  if (asJson) {
    console.log(JSON.stringify({ ...report, reseal: standing ?? null }));
    return;
  }
  console.log(renderReport(report));
  if (standing === undefined) return;
  const { workflowId, status, progress } = standing;
  const how = progress === undefined ? '' : `: ${describeProgress(progress)}`;
  console.log(`\nRe-seal ${workflowId} ${status.toLowerCase()}${how}`);
}

async function rotate(
  { dataKeys, keyProviders }: KeyTools,
  purposes: readonly ReplaceablePurpose[],
): Promise<void> {
  const rotated = await rotateDataKeys(
    { store: dataKeys, keyProviders: await keyProviders() },
    purposes,
  );
  for (const { purpose, id, isTheirs } of rotated) {
    console.log(
      isTheirs
        ? `${purpose}: somebody else has rotated just now`
        : `${purpose}: ${id} is current from now on`,
    );
  }
}

async function rewrap({ dataKeys, keyProviders }: KeyTools): Promise<void> {
  const rewrapped = await rewrapDataKeys(
    { store: dataKeys, keyProviders: await keyProviders() },
    dataKeysMax,
  );
  for (const { id, purpose, outcome, keyVersion } of rewrapped) {
    console.log(`${id}  ${purpose}  ${outcome.replace('_', ' ')}  ${keyVersion}`);
  }
  if (rewrapped.length === 0) console.log('There is no data key yet.');
}

async function reseal({ config, temporal }: KeyTools, options: ResealOptions): Promise<void> {
  const sweepQueue = config.temporal.taskQueues.sweep;
  const workflowId = await startReseal(temporal, {
    sweepQueue,
    rowsPerSecond: options.rowsPerSecond,
    settleMs: retiredKeySealsForMs,
  }).catch((error: unknown) => {
    throw new Error(
      `Temporal at ${config.temporal.address} did not take the re-seal: ${readableError(error)}. ` +
        'Nothing is lost; run `token-manager keys reseal` when it is back.',
    );
  });
  console.log(`The re-seal runs as Workflow ${workflowId}.`);
  if (!options.wait) return;
  console.error('Ctrl-C ends the watching, not the re-seal.');
  const line = createProgressLine(process.stderr, () => performance.now());
  const tell = (standing: ResealStanding | 'away') => line.show(standing);
  const summary = await followReseal(temporal, sweepQueue, tell).finally(() => line.end());
  console.log(
    `${summary.resealed} rows are sealed with the current data keys, in ${summary.passes} passes.`,
  );
  if (summary.left === 0) return;
  console.error(
    `${summary.left} rows do not open and are as they were; the worker's log names them.`,
  );
  process.exitCode = 1;
}

async function drop({ config, dataKeys, temporal }: KeyTools, ids: string[]): Promise<void> {
  const neededForMs = await historiesNeedKeysForMs(temporal, config.temporal.retentionMs).catch(
    (error: unknown) => {
      throw new Error(
        `Temporal at ${config.temporal.address} cannot be asked how long it keeps histories, which ` +
          `may hold results that a data key seals: ${readableError(error)}. Nothing was dropped.`,
      );
    },
  );
  const { lines, isDone } = await dropKeys(dataKeys, ids, neededForMs);
  console.log(lines.join('\n'));
  if (!isDone) process.exitCode = 1;
}

function readPurposes(list: string): ReplaceablePurpose[] {
  return list.split(',').map((item) => {
    const purpose = replaceablePurposes.find((each) => each === item.trim());
    if (purpose !== undefined) return purpose;
    throw new InvalidArgumentError(
      item.trim() === 'fingerprint'
        ? 'The fingerprint key is never replaced: with it the service knows tokens again.'
        : `It takes ${replaceablePurposes.join(', ')}.`,
    );
  });
}

function readCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 100_000) {
    throw new InvalidArgumentError('It takes a whole number from 1 to 100000.');
  }
  return count;
}

async function tellFailure(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    console.error(readableError(error));
    process.exitCode = 1;
  }
}
