import type { Client } from '@temporalio/client';
import type pg from 'pg';

/** A planted secret, by the name that a finding gives. */
export type Canaries = Map<string, string>;

/** Base64 of the text at each of the three places of a group where it may begin inside other data. */
function base64Forms(text: string): string[] {
  return [0, 1, 2].flatMap((offset) => {
    const bytes = Buffer.concat([Buffer.alloc(offset), Buffer.from(text)]);
    // Characters that hold bits of neighbours are cut off.
    const whole = bytes.subarray(0, bytes.length - (bytes.length % 3));
    const skipped = offset === 0 ? 0 : 4;
    return [whole.toString('base64').slice(skipped), whole.toString('base64url').slice(skipped)];
  });
}

function encodings(text: string): [string, string[]][] {
  const bytes = Buffer.from(text);
  return [
    ['plain', [text]],
    ['JSON', [JSON.stringify(text).slice(1, -1)]],
    ['base64', base64Forms(text)],
    [
      'URL-encoded',
      [encodeURIComponent(text), new URLSearchParams({ '': text }).toString().slice(1)].flatMap(
        (form) => [form, form.replaceAll(/%[0-9A-F]{2}/g, (each) => each.toLowerCase())],
      ),
    ],
    ['hex', [bytes.toString('hex'), bytes.toString('hex').toUpperCase()]],
  ];
}

/** Says which canary lies in the text, and how it is written. Empty: none. */
export function findCanaries(text: string, canaries: Canaries): string[] {
  return [...canaries].flatMap(([name, canary]) =>
    encodings(canary)
      .filter(([, forms]) => forms.some((form) => text.includes(form)))
      .map(([encoding]) => `${name} as ${encoding}`),
  );
}

/** Every row of every table, bytes in hex and as they are. */
export async function dumpDatabase(pool: pg.Pool): Promise<string> {
  const { rows: tables } = await pool.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables
     where schemaname not in ('pg_catalog', 'information_schema')`,
  );
  const parts: string[] = [];
  for (const { name } of tables) {
    const { rows } = await pool.query<Record<string, unknown>>(
      `select t.*, t::text as whole_row from ${name} t`,
    );
    for (const row of rows) {
      for (const [column, value] of Object.entries(row)) {
        const text = Buffer.isBuffer(value) ? value.toString('latin1') : JSON.stringify(value);
        parts.push(`${name}.${column}: ${text}`, typeof value === 'string' ? value : '');
      }
    }
  }
  return parts.join('\n');
}

/** Every event of every run that these Task Queues ever had, payloads decoded, and what each run is listed with. */
export async function dumpHistories(
  temporal: Client,
  taskQueues: string[],
): Promise<{ runs: number; text: string }> {
  const parts: string[] = [];
  let runs = 0;
  const query = taskQueues.map((queue) => `TaskQueue = '${queue}'`).join(' or ');
  for await (const run of temporal.workflow.list({ query })) {
    runs += 1;
    parts.push(JSON.stringify([run.type, run.memo, run.typedSearchAttributes.getAll()]));
    const handle = temporal.workflow.getHandle(run.workflowId, run.runId);
    // The classes of the protocol write themselves as JSON, with bytes in base64.
    const events = JSON.stringify(await handle.fetchHistory());
    parts.push(events, ...decodePayloads(events));
  }
  return { runs, text: parts.join('\n') };
}

function decodePayloads(events: string): string[] {
  const payloads: string[] = [];
  JSON.parse(events, (name, member: unknown) => {
    if (name === 'data' && typeof member === 'string') {
      payloads.push(Buffer.from(member, 'base64').toString('latin1'));
    }
    return member;
  });
  return payloads;
}
