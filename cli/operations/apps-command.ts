import { Command } from 'commander';
import type { ProcessSetting } from '../run-process.ts';
import { forEachId } from './for-each.ts';
import { addPageOptions, listPages, type PageOptions } from './list-pages.ts';
import { printItem, printList, type OutputOptions } from './print.ts';
import { readBodyText } from './read-body.ts';
import type { Column } from './render.ts';
import { runOperation } from './run-operation.ts';

const putHelp = `
FILE holds the JSON body of PUT /v1/apps/{app_id}; - or none is standard input:

  token-manager apps put hubspot hubspot.json
  jq '{provider, client_id, client_secrets}' vault.json | token-manager apps put hubspot`;

const columns: Column<Record<string, unknown>>[] = [
  ['ID', ({ id }) => id],
  ['PROVIDER', ({ provider }) => provider],
  ['CLIENT ID', (app) => app['client_id']],
  ['SECRETS', (app) => app['client_secret_count']],
  ['TENANTS', (app) => app['tenant_ids'] ?? '*'],
  ['PAUSED', (app) => app['paused_reason']],
  ['UPDATED', (app) => app['updated_at']],
];

/** `token-manager apps`: registrations of OAuth clients. */
export function createAppsCommand(setting: ProcessSetting): Command {
  const command = new Command('apps').description('registrations of OAuth clients at providers');
  addPageOptions(command.command('list').description('in the order of their ids'))
    .option('--json', 'as JSON: {"items", "next_cursor"}')
    .action((options: PageOptions & OutputOptions) =>
      runOperation(setting, async (operations) => {
        const listed = await listPages(operations, { path: '/v1/apps' }, options);
        const { next_cursor: next } = listed;
        const more = next === null ? undefined : `There are more: --cursor ${next}`;
        printList(listed, columns, { ...options, none: 'There are no apps.', more });
      }),
    );
  command
    .command('show <id>')
    .description('one app; never its secrets')
    .option('--json', 'as JSON')
    .action((id: string, options: OutputOptions) =>
      runOperation(setting, async ({ call }) =>
        printItem((await call('GET', pathOf(id))) ?? {}, options),
      ),
    );
  command
    .command('put <id> [file]')
    .description('register an app, or change one')
    .option('--json', 'as JSON')
    .addHelpText('after', putHelp)
    .action((id: string, file: string | undefined, options: OutputOptions) =>
      runOperation(setting, async ({ call }) => {
        printItem((await call('PUT', pathOf(id), await readBodyText(file ?? '-'))) ?? {}, options);
      }),
    );
  command
    .command('resume <id...>')
    .description('end a pause, after the registration was put right at the provider')
    .action((ids: string[]) =>
      runOperation(setting, ({ call }) =>
        forEachId(ids, async (id) => {
          await call('POST', `${pathOf(id)}/resume`);
          console.log(
            `${id} is resumed; its connections are refreshed again, spread over 5 minutes.`,
          );
        }),
      ),
    );
  command
    .command('delete <id...>')
    .description('delete apps that no connection uses, with their credentials')
    .action((ids: string[]) =>
      runOperation(setting, ({ call }) =>
        forEachId(ids, async (id) => {
          await call('DELETE', pathOf(id));
          console.log(`${id} is deleted.`);
        }),
      ),
    );
  return command;
}

function pathOf(id: string): string {
  return `/v1/apps/${encodeURIComponent(id)}`;
}
