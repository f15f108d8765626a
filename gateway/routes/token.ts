import { createRoute, z } from '@hono/zod-openapi';
import { callerOf, requireScope } from '../admit-callers.ts';
import { answerText } from '../answer-json.ts';
import {
  answeredInstant,
  connectionParams,
  connectionStatusField,
  noQuery,
  wholeJsonNumber,
  wholeNumber,
} from '../fields.ts';
import {
  assertReadable,
  isMemoryOnly,
  type GatewayApp,
  type GatewayContext,
  type GatewayEnv,
} from '../gateway-env.ts';
import { present } from '../present.ts';
import { problemResponses, problemsOfBodies, problemsOfCallers } from '../problem-responses.ts';
import { scopes } from '../security-schemes.ts';
import type { TokenReads } from '../token-reads.ts';
import {
  minTtlMaxSeconds,
  waitDefaultSeconds,
  waitMaxSeconds,
  type TokenAnswer,
  type TokenService,
} from '../token-service.ts';

const tokenAnswer = z
  .object({
    connection_id: z.string(),
    access_token: z.string(),
    token_type: z.string(),
    expires_at: answeredInstant
      .nullable()
      .openapi({ description: 'Null for a token that does not expire.' }),
    expires_in: z.int().min(0).nullable().openapi({ description: 'Whole seconds left, or null.' }),
    scope: z.string().nullable(),
    token_version: z
      .int()
      .min(0)
      .openapi({ description: 'Grows by one with each stored access token.' }),
    refreshed: z
      .boolean()
      .openapi({ description: 'The version is above the one current when the call arrived.' }),
    connection_status: connectionStatusField,
    metadata: z
      .record(z.string(), z.unknown())
      .openapi({ description: 'What the connection holds beside its tokens.' }),
  })
  .openapi('Token');

type TokenBody = z.infer<typeof tokenAnswer>;

const tokenExample = {
  connection_id: 'acme-salesforce',
  access_token: 'an-access-token',
  token_type: 'Bearer',
  expires_at: '2026-11-23T20:00:00.000Z',
  expires_in: 1_799,
  scope: 'a b',
  token_version: 8,
  refreshed: true,
  connection_status: 'active',
  metadata: { instance_url: 'https://acme.my.salesforce.com' },
};

const tokenResponse = {
  description: 'The current access token.',
  content: { 'application/json': { schema: tokenAnswer, example: tokenExample } },
};

/** What stands in the way of a token, and of the refresh that would bring one. */
const tokenProblems = [
  ...problemsOfCallers,
  'connection_not_found',
  'reauthorization_required',
  'connection_paused',
  'app_misconfigured',
  'egress_refused',
  'refresh_not_possible',
  'provider_answer_unusable',
  'refresh_in_progress',
  'refresh_uncertain',
  'provider_unavailable',
  'provider_rate_limited',
  'store_unavailable',
  'key_service_unavailable',
  'refresh_engine_unavailable',
] as const;

const readTokenRoute = createRoute({
  method: 'get',
  path: '/v1/connections/{id}/token',
  operationId: 'readToken',
  tags: ['Tokens'],
  security: scopes('tokens:read'),
  summary: 'Read the access token, refreshed first where the stored one does not do',
  description:
    'Answers the stored token while it satisfies the demand, whatever the status of the connection; refreshes it first where it has expired or has less than `min_ttl_seconds` left, and waits for that. A token stored after the call arrived satisfies any `min_ttl_seconds`. HEAD answers what is stored and never refreshes.',
  request: {
    params: connectionParams,
    query: z.strictObject({
      min_ttl_seconds: wholeNumber(0, minTtlMaxSeconds)
        .optional()
        .openapi({ description: 'Lifetime that must be left.' }),
      min_token_version: wholeNumber(0, Number.MAX_SAFE_INTEGER)
        .optional()
        .openapi({ description: 'Never answer an older version than this.' }),
      wait_seconds: wholeNumber(0, waitMaxSeconds).optional().openapi({
        description: 'How long to wait for a refresh.',
        default: waitDefaultSeconds,
        example: waitDefaultSeconds,
      }),
    }),
  },
  responses: { 200: tokenResponse, ...problemResponses(tokenProblems) },
});

const refreshTokenRoute = createRoute({
  method: 'post',
  path: '/v1/connections/{id}/token/refresh',
  operationId: 'refreshToken',
  tags: ['Tokens'],
  security: scopes('tokens:read', 'tokens:refresh'),
  summary: 'Refresh the access token if it is due, was rejected, or by force',
  description:
    'Without a body: refresh if due. `tokens:refresh` is needed for `force` and `rejected_token_version`; together they are limited to 6 a minute for each connection, and they never override a limit of the provider.',
  request: {
    params: connectionParams,
    query: noQuery,
    body: {
      content: {
        'application/json': {
          schema: z
            .strictObject({
              rejected_token_version: wholeJsonNumber(0, Number.MAX_SAFE_INTEGER).openapi({
                description:
                  'The version that a resource server refused: refresh only if it is still current, else answer the newer one.',
              }),
              force: z.boolean().openapi({
                description: 'A token newer than the one current when the call arrived.',
              }),
              min_ttl_seconds: wholeJsonNumber(0, minTtlMaxSeconds).openapi({
                description: 'Lifetime that must be left.',
              }),
              wait_seconds: wholeJsonNumber(0, waitMaxSeconds).openapi({
                description: `How long to wait for the refresh; ${waitDefaultSeconds} by default.`,
              }),
            })
            .partial()
            .openapi('TokenRefresh'),
          examples: {
            rejected: {
              summary: 'After a 401 with version 7',
              value: { rejected_token_version: 7 },
            },
            forced: { summary: 'A new token, whatever is stored', value: { force: true } },
            lifetime: { summary: 'Ten minutes left', value: { min_ttl_seconds: 600 } },
          },
        },
      },
    },
  },
  responses: {
    200: tokenResponse,
    ...problemResponses([...tokenProblems, ...problemsOfBodies, 'refresh_limited']),
  },
});

/**
 * The token routes; HEAD answers as GET would from what is stored, and never refreshes. POST always
 * reads the row, never the cache.
 */
export function addTokenRoutes(
  app: GatewayApp,
  { tokenService, reads }: { tokenService: TokenService; reads: TokenReads },
): void {
  app.openapi(readTokenRoute, async (c) => {
    const { id } = c.req.valid('param');
    const query = c.req.valid('query');
    c.set('connectionId', id);
    assertReadable(c);
    const answer = await tokenService.readToken({
      ...callOf(c, id, query.wait_seconds),
      ...present({
        minTtlSeconds: query.min_ttl_seconds,
        minTokenVersion: query.min_token_version,
      }),
      mayRefresh: c.req.method !== 'HEAD',
      mayTrail: true,
    });
    if (c.req.method !== 'HEAD') reads.count(answer.source);
    noteSource(c, answer);
    return answerText<TokenBody, 200, GatewayEnv>(c, textOf(answer), 200);
  });

  app.openapi(refreshTokenRoute, async (c) => {
    const { id } = c.req.valid('param');
    const body = c.req.valid('json');
    c.set('connectionId', id);
    if (body.force === true || body.rejected_token_version !== undefined) {
      requireScope(callerOf(c), 'tokens:refresh');
    }
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
    reads.count(answer.source);
    noteSource(c, answer);
    return answerText<TokenBody, 200, GatewayEnv>(c, textOf(answer), 200);
  });
}

function callOf(c: GatewayContext, connectionId: string, waitSeconds = waitDefaultSeconds) {
  const { scopes, tenants } = callerOf(c);
  return {
    connectionId,
    visibleTo: tenants,
    mayInsist: scopes.has('tokens:refresh'),
    waitSeconds,
    memoryOnly: isMemoryOnly(c),
    // Asking for the signal costs a fresh read more than the rest of its bookkeeping, hence a function.
    callerSignal: () => c.req.raw.signal,
    traceparent: c.get('span').traceparent,
  };
}

function textOf({ text, now, refreshed }: TokenAnswer): string {
  return text.at(now, refreshed);
}

function noteSource(c: GatewayContext, { source }: TokenAnswer): void {
  const debug = c.get('debug');
  if (debug !== undefined) debug.tokenSource = source;
}
