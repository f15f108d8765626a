import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { webhookRequest } from '../../activities/webhook-request.ts';
import { readWebhookAnswer, webhookRetryMs } from '../../activities/webhook-answer.ts';
import type { FeedEvent } from '../../connections/event-feed.ts';
import { parseWebhookFile } from '../../connections/webhook-settings.ts';
import { Secret } from '../../platform/secret.ts';

const secretOf = (byte: number) => `whsec_${Buffer.alloc(32, byte).toString('base64')}`;
const [endpoint] = parseWebhookFile(
  JSON.stringify({
    endpoints: [{ name: 'x', url: 'https://x.example/', secrets: [secretOf(1), secretOf(2)] }],
  }),
);
if (endpoint === undefined) throw new Error('no endpoint');
const event: FeedEvent = {
  id: 'evt_7',
  at: new Date('2026-11-23T19:30:01.000Z'),
  type: 'connection.reauthorization_required',
  tenantId: 'acme',
  appId: 'app',
  connectionId: 'c1',
  data: { reason: 'revoked' },
};
const now = new Date();

describe('the request of a webhook', () => {
  it.each([1, 2])('verifies with the library of Standard Webhooks and secret %i', (byte) => {
    const { headers, body } = webhookRequest(endpoint, event, now);
    expect(new Webhook(secretOf(byte)).verify(body, headers)).toEqual({
      id: 'evt_7',
      type: 'connection.reauthorization_required',
      timestamp: '2026-11-23T19:30:01.000Z',
      data: { tenant_id: 'acme', app_id: 'app', connection_id: 'c1', reason: 'revoked' },
    });
    expect(() => new Webhook(secretOf(3)).verify(body, headers)).toThrow();
    expect(() => new Webhook(secretOf(byte)).verify(`${body} `, headers)).toThrow();
  });

  it('has the id of its event and the time of its attempt', () => {
    const again = webhookRequest(endpoint, event, new Date(now.getTime() + 3_600_000));
    const { headers } = webhookRequest(endpoint, event, now);
    expect(again.headers['webhook-id']).toBe(headers['webhook-id']);
    expect(Number(again.headers['webhook-timestamp'])).toBe(
      Number(headers['webhook-timestamp']) + 3_600,
    );
  });
});

describe('the answer of a webhook', () => {
  const answer = (status: number, headers = {}) =>
    readWebhookAnswer({ kind: 'answer', status, headers, body: new Secret('') }, now);

  it.each([
    [200, 'taken'],
    [204, 'taken'],
    [301, 'refused'],
    [400, 'refused'],
    [503, 'refused'],
  ])('%i is %s', (status, kind) => expect(answer(status).kind).toBe(kind));

  it('says when to come again, and when never', () => {
    expect(answer(429, { 'retry-after': '120' })).toMatchObject({ askedForMs: 120_000 });
    expect(answer(410)).toMatchObject({ isGone: true, code: 'http_410' });
    const lost = readWebhookAnswer({ kind: 'no_answer', code: 'answer_timeout' }, now);
    expect(lost).toMatchObject({ kind: 'refused', code: 'answer_timeout' });
  });

  it('is waited for longer each time, to a quarter of an hour, or as long as it asked', () => {
    expect([0, 1, 5, 9, 10, 99].map((count) => webhookRetryMs(count, 0, 1))).toEqual([
      1_000, 2_000, 32_000, 512_000, 900_000, 900_000,
    ]);
    expect(webhookRetryMs(0, 0, 0)).toBe(500);
    expect(webhookRetryMs(0, 3_600_000, 0)).toBe(3_600_000);
  });
});
