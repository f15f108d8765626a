import { createRoute, z } from '@hono/zod-openapi';
import { eventTypes } from '../../client/contract.ts';
import type { EventFeed, FeedEvent } from '../../connections/event-feed.ts';
import { callerOf } from '../admit-callers.ts';
import { answerJson } from '../answer-json.ts';
import { answeredInstant, pageQuery } from '../fields.ts';
import type { GatewayApp } from '../gateway-env.ts';
import { present } from '../present.ts';
import { problemResponses, problemsOfCallers } from '../problem-responses.ts';
import { scopes } from '../security-schemes.ts';

const eventAnswer = z
  .object({
    id: z.string().openapi({ description: 'The same here and in each delivery to a webhook.' }),
    type: z.enum(eventTypes),
    at: answeredInstant,
    tenant_id: z.string().nullable().openapi({ description: 'Null for events of an app.' }),
    app_id: z.string(),
    connection_id: z.string().nullable(),
    data: z
      .record(z.string(), z.unknown())
      .openapi({ description: 'What else is known of the transition, by type.' }),
  })
  .openapi('Event');

const listEventsRoute = createRoute({
  method: 'get',
  path: '/v1/events',
  operationId: 'listEvents',
  tags: ['Events'],
  security: scopes('events:read'),
  summary: 'What has happened to connections and apps',
  description:
    'In the order in which it was committed: whoever asks again with `next_cursor` as `after` misses nothing and reads nothing twice. Events are kept for 30 days. Events of apps are for callers of all tenants.',
  request: {
    query: z.strictObject({
      limit: pageQuery.limit,
      after: pageQuery.cursor.openapi({ description: 'next_cursor of an earlier page.' }),
    }),
  },
  responses: {
    200: {
      description:
        'A page. With fewer events than `limit` it is the last for now, and next_cursor is where to read on later; null: there was no event yet.',
      content: {
        'application/json': {
          schema: z
            .object({ items: z.array(eventAnswer), next_cursor: z.string().nullable() })
            .openapi('EventPage'),
          example: {
            items: [
              {
                id: 'evt_4711',
                type: 'connection.reauthorization_required',
                at: '2026-11-23T19:30:01.000Z',
                tenant_id: 'acme',
                app_id: 'salesforce',
                connection_id: 'acme-salesforce',
                data: { reason: 'revoked' },
              },
            ],
            next_cursor: 'MS44MTUuNDcxMQ',
          },
        },
      },
    },
    ...problemResponses([...problemsOfCallers, 'store_unavailable']),
  },
});

/** The feed of events. */
export function addEventRoutes(app: GatewayApp, { events }: { events: EventFeed }): void {
  app.openapi(listEventsRoute, async (c) => {
    const { limit, after } = c.req.valid('query');
    const page = await events.read({
      limit,
      visibleTo: callerOf(c).tenants,
      ...present({ after }),
    });
    const items = page.items.map(describeEvent);
    return answerJson(c, { items, next_cursor: page.nextCursor }, 200);
  });
}

function describeEvent(event: FeedEvent) {
  return {
    id: event.id,
    type: event.type,
    at: event.at.toISOString(),
    tenant_id: event.tenantId,
    app_id: event.appId,
    connection_id: event.connectionId,
    data: event.data,
  };
}
