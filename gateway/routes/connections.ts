import { createRoute, z } from '@hono/zod-openapi';
import {
  failureClasses,
  refreshOutcomes,
  refreshTriggers,
  refreshWorkflowId,
  TokenManagerError,
} from '../../client/contract.ts';
import {
  appWaitingReason,
  connectionStatus,
  reauthorizationReason,
  waitingReason,
  type Connection,
} from '../../connections/connection.ts';
import type { ConnectionRegistry, LoggedAttempt } from '../../connections/registry.ts';
import type { DatabaseClock } from '../../platform/clock.ts';
import { callerOf, requireTenant } from '../admit-callers.ts';
import { answerJson } from '../answer-json.ts';
import { connectionBody, readConnectionBody } from '../connection-body.ts';
import {
  answeredInstant,
  connectionParams,
  connectionStatusField,
  identifier,
  noQuery,
  pageQuery,
} from '../fields.ts';
import type { GatewayApp } from '../gateway-env.ts';
import { pageResponse } from '../page-response.ts';
import { present } from '../present.ts';
import { problemResponses, problemsOfBodies, problemsOfCallers } from '../problem-responses.ts';
import { scopes } from '../security-schemes.ts';

const connectionFields = z.object({
  id: z.string(),
  tenant_id: z.string(),
  app_id: z.string(),
  provider: z.string(),
  status: connectionStatusField,
  reason: z.string().nullable().openapi({
    description:
      'Why the customer is needed again (`revoked`, `expired`, `lost_rotation`, `no_refresh_token`, `refused`), or what it waits for (`app_misconfigured`, `egress_refused`, `rate_limited`, `provider_unavailable`, `provider_answer_unusable`, `key_service_unavailable`).',
    example: null,
  }),
  token_version: z.int().min(0),
  expires_at: answeredInstant.nullable(),
  refresh_due_at: answeredInstant.nullable(),
  last_refreshed_at: answeredInstant.nullable(),
  next_attempt_at: answeredInstant.nullable(),
  last_failure: z
    .object({ class: z.string(), code: z.string(), at: answeredInstant })
    .nullable()
    .openapi({ description: 'How the last attempt failed; null where it did not.' }),
  workflow_id: z.string().openapi({ description: 'Where to find its refreshes in Temporal.' }),
  scope: z.string().nullable(),
  has_dpop_key: z.boolean(),
  variables: z.record(z.string(), z.string()),
  metadata: z.record(z.string(), z.unknown()),
  created_at: answeredInstant,
  updated_at: answeredInstant,
});
export const connectionAnswer = connectionFields.openapi('Connection');
const importAnswer = connectionFields
  .extend({
    credentials: z.literal('kept_newer').optional().openapi({
      description: 'The refresh token is one that this connection held before: nothing changed.',
    }),
  })
  .openapi('ConnectionImport');

export const connectionExample: z.output<typeof connectionAnswer> = {
  id: 'acme-salesforce',
  tenant_id: 'acme',
  app_id: 'salesforce',
  provider: 'salesforce',
  status: 'active',
  reason: null,
  token_version: 8,
  expires_at: '2026-11-23T20:00:00.000Z',
  refresh_due_at: '2026-11-23T19:55:00.000Z',
  last_refreshed_at: '2026-11-23T19:30:00.000Z',
  next_attempt_at: null,
  last_failure: null,
  workflow_id: 'refresh/acme-salesforce',
  scope: 'a b',
  has_dpop_key: false,
  variables: { domain: 'acme.my.salesforce.com' },
  metadata: { instance_url: 'https://acme.my.salesforce.com' },
  created_at: '2026-11-22T12:00:00.000Z',
  updated_at: '2026-11-23T19:30:00.000Z',
};

const connectionProblems = [...problemsOfCallers, 'store_unavailable'] as const;
const imported = (description: string) => ({
  description,
  content: { 'application/json': { schema: importAnswer, example: connectionExample } },
});

const putConnectionRoute = createRoute({
  method: 'put',
  path: '/v1/connections/{id}',
  operationId: 'putConnection',
  tags: ['Connections'],
  security: scopes('connections:write'),
  summary: 'Import a connection, or re-authorise one',
  description:
    'New credentials win over any refresh in flight and end verdict, uncertainty and waiting; what the body leaves out stays. Idempotent by the refresh token: the one stored now updates only the rest, one that this connection held before changes nothing. Tenant and app never change.',
  request: {
    params: connectionParams,
    query: noQuery,
    body: {
      required: true,
      content: {
        'application/json': {
          schema: connectionBody,
          example: {
            tenant_id: 'acme',
            app_id: 'salesforce',
            access_token: 'an-access-token',
            refresh_token: 'a-refresh-token',
            expires_in: 1_800,
            scope: 'a b',
            variables: { domain: 'acme.my.salesforce.com' },
          },
        },
      },
    },
  },
  responses: {
    200: imported('Updated, or unchanged.'),
    201: imported('Created.'),
    ...problemResponses([
      ...connectionProblems,
      ...problemsOfBodies,
      'app_not_found',
      'provider_not_found',
      'connection_id_taken',
      'credential_in_use',
      'connection_revoking',
      'refresh_in_progress',
      'refresh_uncertain',
      'key_service_unavailable',
    ]),
  },
});

const getConnectionRoute = createRoute({
  method: 'get',
  path: '/v1/connections/{id}',
  operationId: 'readConnection',
  tags: ['Connections'],
  security: scopes('connections:read'),
  summary: 'Status of a connection; never its tokens',
  description: 'Derived when it is asked for, from what is stored.',
  request: { params: connectionParams, query: noQuery },
  responses: {
    200: {
      description: 'The connection.',
      content: { 'application/json': { schema: connectionAnswer, example: connectionExample } },
    },
    ...problemResponses([...connectionProblems, 'connection_not_found']),
  },
});

const listConnectionsRoute = createRoute({
  method: 'get',
  path: '/v1/connections',
  operationId: 'listConnections',
  tags: ['Connections'],
  security: scopes('connections:read'),
  summary: 'A page of connections',
  description: 'In the order of their ids; those that the caller may not see are not there.',
  request: {
    query: z.strictObject({
      ...pageQuery,
      tenant_id: identifier.optional(),
      app_id: identifier.optional(),
      status: connectionStatusField.optional(),
    }),
  },
  responses: {
    200: pageResponse({
      name: 'ConnectionPage',
      item: connectionAnswer,
      example: connectionExample,
    }),
    ...problemResponses(connectionProblems),
  },
});

const attemptFields = z
  .object({
    at: answeredInstant,
    outcome: z.enum(refreshOutcomes),
    class: z
      .enum(failureClasses)
      .nullable()
      .openapi({ description: 'Null, like the code, where the attempt brought tokens.' }),
    code: z
      .string()
      .nullable()
      .openapi({ description: 'The OAuth error, `http_<status>`, or a network code.' }),
    duration_ms: z.number().min(0),
    trigger: z.enum(refreshTriggers),
    run_id: z.string().openapi({ description: 'The Temporal run that made the attempt.' }),
  })
  .openapi('Attempt');

const listAttemptsRoute = createRoute({
  method: 'get',
  path: '/v1/connections/{id}/attempts',
  operationId: 'listAttempts',
  tags: ['Connections'],
  security: scopes('connections:read'),
  summary: 'How the newest attempts to refresh a connection ended',
  description: 'The newest first; 50 are kept.',
  request: { params: connectionParams, query: z.strictObject(pageQuery) },
  responses: {
    200: pageResponse({
      name: 'AttemptPage',
      item: attemptFields,
      description: 'The newest first, at most 50 in all; next_cursor is null on the last page.',
      example: {
        at: '2026-11-23T19:30:01.000Z',
        outcome: 'waiting',
        class: 'transient',
        code: 'http_503',
        duration_ms: 212,
        trigger: 'read',
        run_id: '019ab3c4-5d6e-7f80-9123-456789abcdef',
      },
    }),
    ...problemResponses([...connectionProblems, 'connection_not_found']),
  },
});

/** Import, status and listing of connections, and their attempts. */
export function addConnectionRoutes(
  app: GatewayApp,
  dependencies: {
    connections: Pick<ConnectionRegistry, 'get' | 'list' | 'attempts' | 'put'>;
    databaseClock: DatabaseClock;
  },
): void {
  const { connections, databaseClock } = dependencies;

  app.openapi(putConnectionRoute, async (c) => {
    const { id } = c.req.valid('param');
    c.set('connectionId', id);
    const input = readConnectionBody(c.req.valid('json'));
    requireTenant(callerOf(c), input.tenantId);
    const result = await connections.put(id, input);
    const body = {
      ...describeConnection(result.connection, databaseClock.now()),
      ...(result.credentials === 'kept_newer' && { credentials: 'kept_newer' as const }),
    };
    return result.created ? answerJson(c, body, 201) : answerJson(c, body, 200);
  });

  app.openapi(getConnectionRoute, async (c) => {
    const { id } = c.req.valid('param');
    c.set('connectionId', id);
    const connection = await connections.get(id, callerOf(c).tenants);
    if (connection === undefined) throw new TokenManagerError('connection_not_found');
    return answerJson(c, describeConnection(connection, databaseClock.now()), 200);
  });

  app.openapi(listConnectionsRoute, async (c) => {
    const query = c.req.valid('query');
    const page = await connections.list({
      visibleTo: callerOf(c).tenants,
      limit: query.limit,
      ...present({
        cursor: query.cursor,
        tenantId: query.tenant_id,
        appId: query.app_id,
        status: query.status,
      }),
    });
    const now = databaseClock.now();
    const items = page.items.map((connection) => describeConnection(connection, now));
    return answerJson(c, { items, next_cursor: page.nextCursor }, 200);
  });

  app.openapi(listAttemptsRoute, async (c) => {
    const { id } = c.req.valid('param');
    c.set('connectionId', id);
    const { limit, cursor } = c.req.valid('query');
    const page = await connections.attempts(id, {
      limit,
      visibleTo: callerOf(c).tenants,
      ...present({ cursor }),
    });
    if (page === undefined) throw new TokenManagerError('connection_not_found');
    const items = page.items.map(describeAttempt);
    return answerJson(c, { items, next_cursor: page.nextCursor }, 200);
  });
}

export function describeConnection(connection: Connection, now: Date) {
  const { failure } = connection;
  return {
    id: connection.id,
    tenant_id: connection.tenantId,
    app_id: connection.appId,
    provider: connection.provider,
    status: connectionStatus(connection, now),
    reason: reasonOf(connection, now),
    token_version: connection.tokenVersion,
    expires_at: connection.expiresAt?.toISOString() ?? null,
    refresh_due_at: connection.refreshDueAt?.toISOString() ?? null,
    last_refreshed_at: connection.lastRefreshedAt?.toISOString() ?? null,
    next_attempt_at: connection.nextAttemptAt?.toISOString() ?? null,
    last_failure:
      failure === null
        ? null
        : { class: failure.class, code: failure.code, at: failure.at.toISOString() },
    workflow_id: refreshWorkflowId(connection.id),
    scope: connection.scope,
    has_dpop_key: connection.hasDpopKey,
    variables: connection.variables,
    metadata: connection.metadata,
    created_at: connection.createdAt.toISOString(),
    updated_at: connection.updatedAt.toISOString(),
  };
}

function describeAttempt(attempt: LoggedAttempt) {
  return {
    at: attempt.at.toISOString(),
    outcome: attempt.outcome,
    class: attempt.class,
    code: attempt.code,
    duration_ms: attempt.durationMs,
    trigger: attempt.trigger,
    run_id: attempt.runId,
  };
}

/** Why the customer is needed again, or what the connection waits for. */
function reasonOf(connection: Connection, now: Date): string | null {
  switch (connectionStatus(connection, now)) {
    case 'reauthorization_required':
      return reauthorizationReason(connection, now);
    case 'active':
    case 'uncertain':
      return waitingReason(connection.failure) ?? appWaitingReason(connection, now);
    case 'paused':
    case 'revoking':
      return null;
  }
}
