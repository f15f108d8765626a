import { Webhook } from 'standardwebhooks';
import type { FeedEvent } from '../connections/event-feed.ts';
import type { WebhookEndpoint } from '../connections/webhook-settings.ts';

/**
 * The request that tells an endpoint of an event, by Standard Webhooks 1.0: the id is the event's and stays
 * the same in every attempt, the timestamp is the attempt's, and each secret signs.
 */
export function webhookRequest(
  { url, secrets }: WebhookEndpoint,
  event: FeedEvent,
  sentAt: Date,
): { url: string; headers: Record<string, string>; body: string } {
  const body = JSON.stringify({
    id: event.id,
    type: event.type,
    timestamp: event.at.toISOString(),
    data: {
      tenant_id: event.tenantId,
      app_id: event.appId,
      connection_id: event.connectionId,
      ...event.data,
    },
  });
  const signatures = secrets.map((secret) =>
    new Webhook(secret.reveal()).sign(event.id, sentAt, body),
  );
  return {
    url,
    headers: {
      'content-type': 'application/json',
      'user-agent': 'token-manager',
      'webhook-id': event.id,
      'webhook-timestamp': String(Math.floor(sentAt.getTime() / 1_000)),
      'webhook-signature': signatures.join(' '),
    },
    body,
  };
}
