import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { deliverEvents, type DeliveryStep } from '../../activities/deliver-events.ts';
import { announceEvent } from '../../connections/announce-event.ts';
import { parseWebhookFile } from '../../connections/webhook-settings.ts';
import { createWebhookStore, type WebhookStore } from '../../connections/webhook-store.ts';
import type { TokenAnswer } from '../../oauth/provider-answer.ts';
import { Secret } from '../../platform/secret.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const name = 'crm';
const [endpoint] = parseWebhookFile(
  JSON.stringify({
    endpoints: [
      {
        name,
        url: 'https://crm.example/hook',
        secrets: [`whsec_${Buffer.alloc(32, 7).toString('base64')}`],
      },
    ],
  }),
);

let database: TestDatabase;
let webhooks: WebhookStore;

beforeAll(async () => {
  database = await createTestDatabase();
  webhooks = createWebhookStore(database.pool);
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.pool.query('delete from webhook_deliveries');
  await database.pool.query('delete from webhook_endpoints');
  await webhooks.enrol([name]);
});

async function announce(...connectionIds: string[]): Promise<void> {
  for (const id of connectionIds) {
    await database.pool.query(
      announceEvent({
        type: 'connection.recovered',
        source: `(values ('${id}', 'acme', 'app')) t (id, tenant_id, app_id)`,
        data: `'{}'`,
      }),
    );
  }
}

/** One Activity; `answer` decides by the connection of each delivery, and what was sent is noted. */
async function turn(
  answer: (connectionId: string) => number | 'no_answer',
): Promise<{ step: DeliveryStep; sent: string[] }> {
  const sent: string[] = [];
  let nowMs = 0;
  const step = await deliverEvents(
    {
      webhooks,
      endpoints: () => (endpoint === undefined ? [] : [endpoint]),
      post({ body }) {
        const { data } = JSON.parse(body) as { data: { connection_id: string } };
        sent.push(data.connection_id);
        return Promise.resolve(answerOf(answer(data.connection_id)));
      },
      clock: { monotonicMs: () => nowMs, wallMs: () => Date.now() },
      random: () => 0.5,
      sleep(ms) {
        nowMs += ms;
        return Promise.resolve();
      },
      isEnding: () => false,
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
      metrics: { webhookDeliveries: { inc: () => undefined } },
    },
    { endpoint: name },
  );
  return { step, sent };
}

function answerOf(status: number | 'no_answer'): TokenAnswer {
  if (status === 'no_answer') return { kind: 'no_answer', code: 'ECONNRESET' };
  return { kind: 'answer', status, headers: {}, body: new Secret('') };
}

/** As if the waits were over, and so many days besides. */
async function letDaysPass(days: number): Promise<void> {
  const back = `- make_interval(days => ${String(days)})`;
  await database.pool.query(
    `update webhook_endpoints set next_attempt_at = now(), failing_since = failing_since ${back}`,
  );
  await database.pool.query(
    `update webhook_deliveries set created_at = created_at ${back},
       next_attempt_at = case when next_attempt_at is not null then now() end`,
  );
}

async function retries(): Promise<{ attempts: number; is_parked: boolean }[]> {
  const { rows } = await database.pool.query<{ attempts: number; is_parked: boolean }>(
    'select attempts, next_attempt_at is null as is_parked from webhook_deliveries',
  );
  return rows;
}

describe('an endpoint', () => {
  it('that takes nothing keeps its place, is probed with three events, and gets all once it takes one', async () => {
    await announce('a', 'b', 'c', 'd', 'e');
    const dead = await turn(() => 'no_answer');
    expect(dead.step).toMatchObject({ next: 'again' });
    expect(dead.sent).toEqual(['a', 'b', 'c', 'd', 'e']);
    await letDaysPass(1);
    // No more than three to one that failed.
    expect((await turn(() => 500)).sent).toEqual(['a', 'b', 'c']);
    await letDaysPass(0);
    const alive = await turn(() => 204);
    expect(alive.sent).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(await webhooks.standing(name)).toMatchObject({ failingSince: null, failureCount: 0 });
    expect(await retries()).toEqual([]);
  });

  it('that has taken nothing for three days is parked, and nothing is sent any more', async () => {
    await announce('a');
    expect((await turn(() => 500)).step).toMatchObject({ next: 'again' });
    await letDaysPass(2);
    expect((await turn(() => 500)).step).toMatchObject({ next: 'again' });
    await letDaysPass(1);
    expect((await turn(() => 500)).step).toEqual({ next: 'end', outcome: 'parked' });
    expect((await turn(() => 204)).sent).toEqual([]);
    expect(await webhooks.enrol([name])).toEqual([]);
    // It is let go where it stopped.
    await database.pool.query(
      'update webhook_endpoints set parked_at = null, failing_since = null',
    );
    await letDaysPass(0);
    expect((await turn(() => 204)).sent).toEqual(['a']);
  });

  it('that says it is gone is parked at once', async () => {
    await announce('a');
    expect((await turn(() => 410)).step).toEqual({ next: 'end', outcome: 'parked' });
  });

  it('that refuses one event gets the others, and that one for three days', async () => {
    await announce('a', 'poison', 'c');
    const answer = (id: string): number => (id === 'poison' ? 400 : 200);
    expect((await turn(answer)).sent.toSorted()).toEqual(['a', 'c', 'poison']);
    expect(await retries()).toEqual([{ attempts: 1, is_parked: false }]);
    await announce('d');
    await letDaysPass(1);
    expect((await turn(answer)).sent.toSorted()).toEqual(['d', 'poison']);
    expect(await retries()).toEqual([{ attempts: 2, is_parked: false }]);
    await letDaysPass(2);
    expect((await turn(answer)).sent).toEqual(['poison']);
    expect(await retries()).toEqual([{ attempts: 3, is_parked: true }]);
    await letDaysPass(1);
    expect((await turn(answer)).sent).toEqual([]);
    expect(await webhooks.standing(name)).toMatchObject({ parkedAt: null, failingSince: null });
  });

  it('that WEBHOOKS_FILE no longer has is told nothing', async () => {
    await database.pool.query('delete from webhook_endpoints');
    await announce('a');
    expect(await turn(() => 204)).toEqual({
      step: { next: 'end', outcome: 'unknown' },
      sent: [],
    });
  });
});
