import { Command, InvalidArgumentError, Option } from 'commander';
import { connectionStatuses } from '../../client/contract.ts';
import { addImportCommand } from '../import/import-command.ts';
import type { ProcessSetting } from '../run-process.ts';
import { forEachId } from './for-each.ts';
import { addPageOptions, listPages, type PageOptions } from './list-pages.ts';
import { printItem, printList, type OutputOptions } from './print.ts';
import { readBodyText } from './read-body.ts';
import type { Column } from './render.ts';
import { runOperation } from './run-operation.ts';

const waitDefaultSeconds = 30;
const waitMaxSeconds = 60;

const columns: Column<Record<string, unknown>>[] = [
  ['ID', ({ id }) => id],
  ['TENANT', (connection) => connection['tenant_id']],
  ['APP', (connection) => connection['app_id']],
  ['STATUS', ({ status }) => status],
  ['REASON', ({ reason }) => reason],
  ['VERSION', (connection) => connection['token_version']],
  ['EXPIRES', (connection) => connection['expires_at']],
  ['DUE', (connection) => connection['refresh_due_at']],
];
const attemptColumns: Column<Record<string, unknown>>[] = [
  ['AT', ({ at }) => at],
  ['OUTCOME', ({ outcome }) => outcome],
  ['CLASS', (attempt) => attempt['class']],
  ['CODE', ({ code }) => code],
  ['MS', (attempt) => attempt['duration_ms']],
  ['TRIGGER', ({ trigger }) => trigger],
  ['RUN', (attempt) => attempt['run_id']],
];

interface Filter {
  tenant?: string;
  app?: string;
  status?: string;
}

/** `token-manager connections`: grants of customers. */
export function createConnectionsCommand(setting: ProcessSetting): Command {
  const command = new Command('connections').description('grants of customers, with their tokens');
  addPageOptions(command.command('list').description('in the order of their ids'))
    .option('--tenant <id>', 'of one tenant')
    .option('--app <id>', 'of one app')
    .addOption(new Option('--status <status>', 'in one status').choices(connectionStatuses))
    .option('--json', 'as JSON: {"items", "next_cursor"}')
    .action((options: PageOptions & OutputOptions & Filter) =>
      runOperation(setting, async (operations) => {
        const { tenant, app, status } = options;
        const query = { tenant_id: tenant, app_id: app, status };
        const listed = await listPages(operations, { path: '/v1/connections', query }, options);
        const { next_cursor: next } = listed;
        const more = next === null ? undefined : `There are more: --cursor ${next}`;
        printList(listed, columns, { ...options, none: 'There are no such connections.', more });
      }),
    );
  command
    .command('show <id>')
    .description('one connection; never its tokens')
    .option('--json', 'as JSON')
    .action((id: string, options: OutputOptions) =>
      runOperation(setting, async ({ call }) =>
        printItem((await call('GET', pathOf(id))) ?? {}, options),
      ),
    );
  addPageOptions(command.command('attempts <id>').description('how its newest refreshes ended'))
    .option('--json', 'as JSON: {"items", "next_cursor"}')
    .action((id: string, options: PageOptions & OutputOptions) =>
      runOperation(setting, async (operations) => {
        const listed = await listPages(operations, { path: `${pathOf(id)}/attempts` }, options);
        const none = 'No attempt is on record.';
        printList(listed, attemptColumns, { ...options, none, more: undefined });
      }),
    );
  command
    .command('put <id> [file]')
    .description('import one connection, or re-authorise it: the body of PUT /v1/connections/{id}')
    .option('--json', 'as JSON')
    .action((id: string, file: string | undefined, options: OutputOptions) =>
      runOperation(setting, async ({ call }) => {
        printItem((await call('PUT', pathOf(id), await readBodyText(file ?? '-'))) ?? {}, options);
      }),
    );
  addImportCommand(command, setting);
  addLifeCommands(command, setting);
  return command;
}

function addLifeCommands(command: Command, setting: ProcessSetting): void {
  command
    .command('refresh <id...>')
    .description('get tokens newer than the stored ones, though those may be valid')
    .option(
      '--wait <seconds>',
      `how long to wait, 0 to ${waitMaxSeconds}`,
      readWait,
      waitDefaultSeconds,
    )
    .action((ids: string[], { wait }: { wait: number }) =>
      runOperation(setting, ({ call }) =>
        forEachId(ids, async (id) => {
          const body = { force: true, wait_seconds: wait };
          const token = (await call('POST', `${pathOf(id)}/token/refresh`, body)) ?? {};
          const { token_version: version, expires_at: end } = token;
          console.log(`${id} has token version ${String(version)}, ${expiry(end)}.`);
        }),
      ),
    );
  command
    .command('pause <id...>')
    .description('stop refreshing; valid tokens are served, what is in flight is stored')
    .action((ids: string[]) =>
      runOperation(setting, ({ call }) =>
        forEachId(ids, async (id) => {
          await call('POST', `${pathOf(id)}/pause`);
          console.log(`${id} is paused.`);
        }),
      ),
    );
  command
    .command('resume <id...>')
    .description('refresh again; one refresh is tried where the customer is said to be needed')
    .action((ids: string[]) =>
      runOperation(setting, ({ call }) =>
        forEachId(ids, async (id) => {
          const connection = (await call('POST', `${pathOf(id)}/resume`)) ?? {};
          console.log(`${id} is resumed, and ${String(connection['status'])}.`);
        }),
      ),
    );
  command
    .command('delete <id...>')
    .description('disconnect: its tokens cannot be read any more, and are revoked at the provider')
    .action((ids: string[]) =>
      runOperation(setting, ({ call }) =>
        forEachId(ids, async (id) => {
          const left = await call('DELETE', pathOf(id));
          const told = left === undefined ? 'deleted' : 'deleted here; the provider is being told';
          console.log(`${id} is ${told}.`);
        }),
      ),
    );
}

function pathOf(id: string): string {
  return `/v1/connections/${encodeURIComponent(id)}`;
}

function expiry(end: unknown): string {
  return typeof end === 'string' ? `valid until ${end}` : 'which does not expire';
}

function readWait(text: string): number {
  const seconds = Number(text);
  if (/^\d+$/.test(text) && seconds <= waitMaxSeconds) return seconds;
  throw new InvalidArgumentError(`It takes a whole number from 0 to ${waitMaxSeconds}.`);
}
