import { createRoute, z } from '@hono/zod-openapi';
import { connectionStatus } from '../../connections/connection.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { answerJson } from '../answer-json.ts';
import { connectionStatusField, identifier, wholeJsonNumber, wholeNumber } from '../fields.ts';
import type { GatewayApp, GatewayContext } from '../gateway-env.ts';
import { present } from '../present.ts';
import type { TokenAnswer, TokenService } from '../token-service.ts';

const waitMaxSeconds = 60;
const waitDefaultSeconds = 10;
const minTtlMaxSeconds = 86_400;

/** W3C Trace Context, version 00; anything else is ignored. */
const traceparentPattern = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

const tokenAnswer = z
  .object({
    connection_id: z.string(),
    access_token: z.string(),
    token_type: z.string(),
    expires_at: z.string().nullable(),
    expires_in: z.number().nullable(),
    scope: z.string().nullable(),
    token_version: z.number(),
    refreshed: z.boolean(),
    connection_status: connectionStatusField,
    metadata: z.record(z.string(), z.unknown()),
  })
  .openapi('Token');

const tokenResponses = {
  200: {
    description: 'The current access token.',
    content: { 'application/json': { schema: tokenAnswer } },
  },
};

const readTokenRoute = createRoute({
  method: 'get',
  path: '/v1/connections/{id}/token',
  summary: 'Read the access token, refreshed first where the stored one does not do',
  request: {
    params: z.object({ id: identifier }),
    query: z.strictObject({
      min_ttl_seconds: wholeNumber(0, minTtlMaxSeconds).optional(),
      min_token_version: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional(),
      wait_seconds: wholeNumber(0, waitMaxSeconds).optional(),
    }),
  },
  responses: tokenResponses,
});

const refreshTokenRoute = createRoute({
  method: 'post',
  path: '/v1/connections/{id}/token/refresh',
  summary: 'Refresh the access token if it is due, was rejected, or by force',
  request: {
    params: z.object({ id: identifier }),
    query: z.strictObject({}),
    body: {
      content: {
        'application/json': {
          schema: z
            .strictObject({
              rejected_token_version: wholeJsonNumber(0, Number.MAX_SAFE_INTEGER),
              force: z.boolean(),
              min_ttl_seconds: wholeJsonNumber(0, minTtlMaxSeconds),
              wait_seconds: wholeJsonNumber(0, waitMaxSeconds),
            })
            .partial()
            .openapi('TokenRefresh'),
        },
      },
    },
  },
  responses: tokenResponses,
});

/**
 * The token routes; HEAD answers as GET would from what is stored, and never refreshes. POST always
 * reads the row, never the cache.
 */
export function addTokenRoutes(
  app: GatewayApp,
  { tokenService, metrics }: { tokenService: TokenService; metrics: Pick<Metrics, 'tokenReads'> },
): void {
  app.openapi(readTokenRoute, async (c) => {
    const { id } = c.req.valid('param');
    const query = c.req.valid('query');
    c.set('connectionId', id);
    const answer = await tokenService.readToken({
      ...callOf(c, id, query.wait_seconds),
      ...present({
        minTtlSeconds: query.min_ttl_seconds,
        minTokenVersion: query.min_token_version,
      }),
      mayRefresh: c.req.method !== 'HEAD',
      mayTrail: true,
    });
    if (c.req.method !== 'HEAD') metrics.tokenReads.inc({ source: answer.source });
    return answerJson(c, describeToken(answer), 200);
  });

  app.openapi(refreshTokenRoute, async (c) => {
    const { id } = c.req.valid('param');
    const body = c.req.valid('json');
    c.set('connectionId', id);
    const answer = await tokenService.readToken({
      ...callOf(c, id, body.wait_seconds),
      ...present({
        minTtlSeconds: body.min_ttl_seconds,
        rejectedTokenVersion: body.rejected_token_version,
        force: body.force,
      }),
      ifDue: true,
      mayRefresh: true,
      mayTrail: false,
    });
    metrics.tokenReads.inc({ source: answer.source });
    return answerJson(c, describeToken(answer), 200);
  });
}

function callOf(c: GatewayContext, connectionId: string, waitSeconds = waitDefaultSeconds) {
  const traceparent = c.req.header('traceparent');
  return {
    connectionId,
    waitSeconds,
    // Asking for the signal costs a fresh read more than the rest of its bookkeeping, hence a function.
    callerSignal: () => c.req.raw.signal,
    ...(traceparent !== undefined && traceparentPattern.test(traceparent) && { traceparent }),
  };
}

function describeToken({ connection, accessToken, refreshed, now }: TokenAnswer) {
  const { expiresAt } = connection;
  return {
    connection_id: connection.id,
    access_token: accessToken.reveal(),
    token_type: connection.tokenType,
    expires_at: expiresAt?.toISOString() ?? null,
    expires_in:
      expiresAt === null
        ? null
        : Math.max(0, Math.floor((expiresAt.getTime() - now.getTime()) / 1_000)),
    scope: connection.scope,
    token_version: connection.tokenVersion,
    refreshed,
    connection_status: connectionStatus(connection, now),
    metadata: connection.metadata,
  };
}
