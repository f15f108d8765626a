import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { EventType } from '../../client/contract.ts';
import { findFreePort } from '../../dev/ports.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';
import { ChangingConnection } from './state-changes.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts';

/** `npm run webhook-test` is the whole proof; the default fits into every run. */
const changes = Number(process.env['WEBHOOK_EVENTS'] ?? 600);
const connections = 40;
const writers = 8;
const limitMs = 120_000 + 60 * changes;

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

interface Told {
  id: string;
  type: EventType;
  connection_id: string;
}

async function addConnections(): Promise<ChangingConnection[]> {
  const appId = await stack.addApp('http://127.0.0.1:9/token');
  const added: ChangingConnection[] = [];
  for (let at = 0; at < connections; at += 1) {
    const tokens = { accessToken: randomUUID(), refreshToken: randomUUID() };
    added.push(new ChangingConnection(stack, await stack.addConnection(appId, tokens)));
  }
  return added;
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
      const changing = await addConnections();
      const startedAtMs = performance.now();
      await Promise.all(
        Array.from({ length: writers }, async (_writer, writer) => {
          const mine = changing.filter((_connection, at) => at % writers === writer);
          for (let number = 0; number < perConnection; number += 1) {
            for (const connection of mine) await connection.change();
            // One endpoint is not there yet.
            if (writer === 0 && number === Math.floor(perConnection / 2)) {
              receivers.push(await startWebhookReceiver({ secret, port: latePort }));
            }
          }
        }),
      );
      const writtenMs = performance.now() - startedAtMs;
      const total = perConnection * connections;
      const feed = await readFeed();
      expect(new Set(feed.map(({ id }) => id)).size).toBe(total);
      expect(feed).toHaveLength(total);
      const transitions = Array.from({ length: perConnection }, (_each, at) =>
        at % 2 === 0 ? 'connection.reauthorization_required' : 'connection.recovered',
      );
      for (const { id } of changing) {
        const told = feed.filter((each) => each.connection_id === id);
        expect(told.map(({ type }) => type)).toEqual(transitions);
      }
      await expect
        .poll(() => receivers.map(({ taken }) => taken.size), { timeout: limitMs, interval: 250 })
        .toEqual([total, total, total, total]);
      const toldMs = performance.now() - startedAtMs;
      process.stdout.write(
        `webhooks: ${total} changes in ${(writtenMs / 1_000).toFixed(1)} s, ` +
          `told to ${receivers.length} endpoints after ${(toldMs / 1_000).toFixed(1)} s\n`,
      );
      expect(receivers.map(({ forged }) => forged)).toEqual([0, 0, 0, 0]);
      // What a live endpoint has taken is not sent again and again.
      const [steady] = receivers;
      expect(steady?.requests).toBeLessThan(total * 1.1);
    },
  );
});
