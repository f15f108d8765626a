import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { EventType } from '../../client/contract.ts';
import { announceEvent } from '../../connections/announce-event.ts';
import { findFreePort } from '../../dev/ports.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts';

/** `WEBHOOK_EVENTS=10000` is the whole proof; the default fits into every run. */
const changes = Number(process.env['WEBHOOK_EVENTS'] ?? 600);
const connections = 40;
const writers = 8;
const limitMs = 60_000 + 30 * changes;

const secret = `whsec_${randomBytes(32).toString('base64')}`;
const receivers: WebhookReceiver[] = [];
let folder: string;
let latePort: number;
let stack: TestStack;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'token-manager-webhooks-'));
  latePort = await findFreePort();
  const refusedOnce = new Set<string>();
  receivers.push(
    await startWebhookReceiver({ secret }),
    // Every fifth request of an event is refused the first time.
    await startWebhookReceiver({
      secret,
      decide(request, id) {
        if (request % 5 !== 0 || refusedOnce.has(id)) return 'take';
        refusedOnce.add(id);
        return 'refuse';
      },
    }),
    // It hangs until the three probes of a failing endpoint have waited in vain.
    await startWebhookReceiver({ secret, decide: (request) => (request <= 3 ? 'hang' : 'take') }),
  );
  const urls = [...receivers.map(({ url }) => url), `http://127.0.0.1:${latePort}/hook`];
  const file = join(folder, 'webhooks.json');
  writeFileSync(
    file,
    JSON.stringify({
      endpoints: urls.map((url, at) => ({ name: `endpoint-${at}`, url, secrets: [secret] })),
    }),
  );
  stack = await startTestStack({ env: { WEBHOOKS_FILE: file } });
  await vi.waitFor(
    async () => {
      const { rowCount } = await stack.database.pool.query('select from webhook_endpoints');
      if (rowCount !== urls.length) throw new Error('the endpoints are not enrolled yet');
    },
    { timeout: 20_000 },
  );
});
afterAll(async () => {
  await stack.close();
  await Promise.all(receivers.map((receiver) => receiver.close()));
  rmSync(folder, { recursive: true });
});

/** One change of a connection, as the statement that made it would tell of it. */
async function change(connectionId: string, number: number): Promise<void> {
  const type: EventType =
    number % 2 === 0 ? 'connection.reauthorization_required' : 'connection.recovered';
  const client = await stack.database.pool.connect();
  try {
    await client.query('begin');
    await client.query(
      announceEvent({
        type,
        source: `(values ('${connectionId}', 'acme', 'app')) t (id, tenant_id, app_id)`,
        data: `'{"number": ${number}}'`,
      }),
    );
    // Some commit late.
    if (number % 7 === 0) await client.query('select pg_sleep(0.02)');
    await client.query('commit');
  } finally {
    client.release();
  }
}

interface Told {
  id: string;
  connection_id: string;
  data: { number: number };
}

async function readFeed(): Promise<Told[]> {
  const told: Told[] = [];
  let after = '';
  for (;;) {
    const { body } = await stack.call('GET', `/v1/events?limit=500${after}`);
    const items = body['items'] as Told[];
    told.push(...items);
    if (items.length < 500) return told;
    after = `&after=${encodeURIComponent(String(body['next_cursor']))}`;
  }
}

describe('webhooks', () => {
  it(
    'tell every endpoint of every change at least once, whatever endpoints do meanwhile',
    { timeout: limitMs },
    async () => {
      const perConnection = Math.ceil(changes / connections);
      const names = Array.from({ length: connections }, (_name, at) => `c-${at}`);
      await Promise.all(
        Array.from({ length: writers }, async (_writer, writer) => {
          const mine = names.filter((_name, at) => at % writers === writer);
          for (let number = 0; number < perConnection; number += 1) {
            for (const name of mine) await change(name, number);
            // One endpoint is not there yet.
            if (writer === 0 && number === Math.floor(perConnection / 2)) {
              receivers.push(await startWebhookReceiver({ secret, port: latePort }));
            }
          }
        }),
      );
      const total = perConnection * connections;
      const feed = await readFeed();
      expect(new Set(feed.map(({ id }) => id)).size).toBe(total);
      expect(feed).toHaveLength(total);
      for (const name of names) {
        const numbers = feed
          .filter((each) => each.connection_id === name)
          .map(({ data }) => data.number);
        expect(numbers).toEqual(Array.from({ length: perConnection }, (_each, at) => at));
      }
      await expect
        .poll(() => receivers.map(({ taken }) => taken.size), { timeout: limitMs, interval: 250 })
        .toEqual([total, total, total, total]);
      expect(receivers.map(({ forged }) => forged)).toEqual([0, 0, 0, 0]);
      // What a live endpoint has taken is not sent again and again.
      const [steady] = receivers;
      expect(steady?.requests).toBeLessThan(total * 1.1);
    },
  );
});
