import { Command } from 'commander';
import {
  listRefusedDeliveries,
  retryEndpoint,
  reviewEndpoints,
  type RefusedDelivery,
  type ReviewedEndpoint,
} from '../../connections/webhook-review.ts';
import type { ProcessSetting } from '../run-process.ts';
import { forEachId } from './for-each.ts';
import { addPageOptions, listPages, type PageOptions } from './list-pages.ts';
import { printList, type OutputOptions } from './print.ts';
import type { Column } from './render.ts';
import { runOperation, type Operations } from './run-operation.ts';

type Item = Record<string, unknown>;

const eventColumns: Column<Item>[] = [
  ['AT', ({ at }) => at],
  ['ID', ({ id }) => id],
  ['TYPE', ({ type }) => type],
  ['CONNECTION', (event) => event['connection_id']],
  ['APP', (event) => event['app_id']],
  ['DATA', ({ data }) => data],
];
const endpointColumns: Column<Item>[] = [
  ['ENDPOINT', ({ name }) => name],
  ['STATE', ({ state }) => state],
  ['DELIVERED', (endpoint) => endpoint['delivered_at']],
  ['FAILING SINCE', (endpoint) => endpoint['failing_since']],
  ['FAILURES', (endpoint) => endpoint['failure_count']],
  ['CODE', (endpoint) => endpoint['failure_code']],
  ['RETRIED EVENTS', (endpoint) => endpoint['retrying_events']],
  ['PARKED EVENTS', (endpoint) => endpoint['parked_events']],
];
const refusedColumns: Column<Item>[] = [
  ['EVENT', ({ event }) => event],
  ['TYPE', ({ type }) => type],
  ['CONNECTION', (delivery) => delivery['connection_id']],
  ['ATTEMPTS', ({ attempts }) => attempts],
  ['CODE', (delivery) => delivery['failure_code']],
  ['NEXT', (delivery) => delivery['next_attempt_at'] ?? 'parked'],
];

/** `token-manager events`: the feed, and how webhook endpoints fare. */
export function createEventsCommand(setting: ProcessSetting): Command {
  const command = new Command('events').description('what has happened, and who was told of it');
  addPageOptions(
    command.command('list').description('the feed, in the order in which it was committed'),
    '--after <cursor>',
  )
    .option('--json', 'as JSON: {"items", "next_cursor"}')
    .action((options: PageOptions & OutputOptions & { after?: string }) =>
      runOperation(setting, async (operations) => {
        const { limit, after } = options;
        const listed = await listPages(
          operations,
          { path: '/v1/events', cursorName: 'after' },
          { limit, ...(after !== undefined && { cursor: after }) },
        );
        const { next_cursor: next } = listed;
        const more = next === null ? undefined : `It goes on: --after ${next}`;
        printList(listed, eventColumns, { ...options, none: 'There are no events there.', more });
      }),
    );
  command
    .command('endpoints')
    .alias('webhooks')
    .description('how the endpoints of WEBHOOKS_FILE fare')
    .option('--json', 'as JSON: {"items", "next_cursor"}')
    .action((options: OutputOptions) =>
      runOperation(setting, async (operations) => {
        const items = await describeEndpoints(operations);
        const none = 'No webhook endpoint was ever served.';
        printList({ items, next_cursor: null }, endpointColumns, {
          ...options,
          none,
          more: undefined,
        });
      }),
    );
  addPageOptions(
    command.command('refused <endpoint>').description('the events that an endpoint has refused'),
  )
    .option('--json', 'as JSON: {"items", "next_cursor"}')
    .action((endpoint: string, options: PageOptions & OutputOptions) =>
      runOperation(setting, async ({ services }) => {
        const refused = await listRefusedDeliveries(services.pool, endpoint, options.limit);
        const items = refused.map(describeRefused);
        const none = `${endpoint} is owed no event that it has refused.`;
        printList({ items, next_cursor: null }, refusedColumns, {
          ...options,
          none,
          more: undefined,
        });
      }),
    );
  command
    .command('retry <endpoint...>')
    .description('send again what an endpoint has refused, and what waits for a parked one')
    .action((endpoints: string[]) =>
      runOperation(setting, (operations) =>
        forEachId(endpoints, (endpoint) => retry(operations, endpoint)),
      ),
    );
  return command;
}

async function describeEndpoints({ services }: Operations): Promise<Item[]> {
  const known = await reviewEndpoints(services.pool);
  const named = new Set(services.webhookEndpoints().map(({ name }) => name));
  const unserved = [...named].filter((name) => !known.some((each) => each.name === name));
  return [
    ...known.map((endpoint) => ({
      name: endpoint.name,
      state: stateOf(endpoint),
      in_webhooks_file: named.has(endpoint.name),
      delivered_at: endpoint.deliveredAt?.toISOString() ?? null,
      failing_since: endpoint.failingSince?.toISOString() ?? null,
      failure_count: endpoint.failureCount,
      failure_code: endpoint.failureCode,
      parked_at: endpoint.parkedAt?.toISOString() ?? null,
      retrying_events: endpoint.retryingCount,
      parked_events: endpoint.parkedCount,
    })),
    ...unserved.map((name) => ({ name, state: 'not served yet', in_webhooks_file: true })),
  ];
}

function stateOf({ parkedAt, failingSince }: ReviewedEndpoint): string {
  if (parkedAt !== null) return 'parked';
  return failingSince === null ? 'served' : 'failing';
}

function describeRefused({
  event,
  attempts,
  failureCode,
  nextAttemptAt,
  firstRefusedAt,
}: RefusedDelivery) {
  return {
    event: event.id,
    type: event.type,
    connection_id: event.connectionId,
    app_id: event.appId,
    attempts,
    failure_code: failureCode,
    next_attempt_at: nextAttemptAt?.toISOString() ?? null,
    first_refused_at: firstRefusedAt.toISOString(),
  };
}

async function retry({ services, log, callerName }: Operations, endpoint: string): Promise<void> {
  const retried = await retryEndpoint(services.pool, endpoint);
  const outcome = retried === undefined ? 'not_found' : 'done';
  log
    .child({ audit: true }, { level: 'info' })
    .info({ caller: callerName, action: 'events retry', webhook: endpoint, outcome }, 'audit');
  if (retried === undefined) {
    throw new Error(
      `There is no webhook endpoint ${endpoint}: \`token-manager events endpoints\` lists those there are.`,
    );
  }
  const { wasParked, deliveries } = retried;
  const parked = wasParked ? ' is parked no longer, and' : '';
  console.log(
    `${endpoint}${parked} is sent what it is owed within seconds; refused before: ${deliveries}.`,
  );
}
