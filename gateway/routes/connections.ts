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
import { lifetimeMaxSeconds } from '../../connections/freshness.ts';
import type {
  ConnectionInput,
  ConnectionRegistry,
  LoggedAttempt,
} from '../../connections/registry.ts';
import type { DatabaseClock } from '../../platform/clock.ts';
import { answerJson } from '../answer-json.ts';
import {
  connectionStatusField,
  freeObject,
  identifier,
  instant,
  line,
  pageQuery,
  privateKeyText,
  secret,
  wholeJsonNumber,
} from '../fields.ts';
import type { GatewayApp } from '../gateway-env.ts';
import { present } from '../present.ts';

const variablesMax = 32;

const connectionFields = z.object({
  id: z.string(),
  tenant_id: z.string(),
  app_id: z.string(),
  provider: z.string(),
  status: connectionStatusField,
  reason: z.string().nullable(),
  token_version: z.number(),
  expires_at: z.string().nullable(),
  refresh_due_at: z.string().nullable(),
  last_refreshed_at: z.string().nullable(),
  next_attempt_at: z.string().nullable(),
  last_failure: z.object({ class: z.string(), code: z.string(), at: z.string() }).nullable(),
  workflow_id: z.string(),
  scope: z.string().nullable(),
  has_dpop_key: z.boolean(),
  variables: z.record(z.string(), z.string()),
  metadata: z.record(z.string(), z.unknown()),
  created_at: z.string(),
  updated_at: z.string(),
});
const connectionAnswer = connectionFields.openapi('Connection');
const importAnswer = connectionFields
  .extend({ credentials: z.literal('kept_newer').optional() })
  .openapi('ConnectionImport');

const connectionInput = z
  .strictObject({
    tenant_id: identifier,
    app_id: identifier,
    access_token: secret.optional(),
    refresh_token: secret.optional(),
    dpop_key: privateKeyText.optional(),
    expires_in: wholeJsonNumber(0, lifetimeMaxSeconds).optional(),
    expires_at: instant.optional(),
    scope: line.optional(),
    variables: z
      .record(z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/), line)
      .refine(
        (variables) => Object.keys(variables).length <= variablesMax,
        `must hold at most ${variablesMax} members`,
      )
      .optional(),
    metadata: freeObject.optional(),
  })
  .refine((input) => input.expires_in === undefined || input.expires_at === undefined, {
    path: ['expires_at'],
    message: 'must not be given together with expires_in',
  })
  .openapi('ConnectionInput');

const params = z.object({ id: identifier });

const putConnectionRoute = createRoute({
  method: 'put',
  path: '/v1/connections/{id}',
  summary: 'Import a connection, or re-authorise one',
  request: {
    params,
    query: z.strictObject({}),
    body: { required: true, content: { 'application/json': { schema: connectionInput } } },
  },
  responses: {
    200: {
      description: 'Updated, or unchanged.',
      content: { 'application/json': { schema: importAnswer } },
    },
    201: { description: 'Created.', content: { 'application/json': { schema: importAnswer } } },
  },
});

const getConnectionRoute = createRoute({
  method: 'get',
  path: '/v1/connections/{id}',
  summary: 'Status of a connection; never its tokens',
  request: { params, query: z.strictObject({}) },
  responses: {
    200: {
      description: 'The connection.',
      content: { 'application/json': { schema: connectionAnswer } },
    },
  },
});

const listConnectionsRoute = createRoute({
  method: 'get',
  path: '/v1/connections',
  summary: 'A page of connections',
  request: {
    query: z.strictObject({
      ...pageQuery,
      tenant_id: identifier.optional(),
      app_id: identifier.optional(),
      status: connectionStatusField.optional(),
    }),
  },
  responses: {
    200: {
      description: 'A page; next_cursor is null on the last.',
      content: {
        'application/json': {
          schema: z
            .object({ items: z.array(connectionAnswer), next_cursor: z.string().nullable() })
            .openapi('ConnectionPage'),
        },
      },
    },
  },
});

const attemptFields = z
  .object({
    at: z.string(),
    outcome: z.enum(refreshOutcomes),
    class: z.enum(failureClasses).nullable(),
    code: z.string().nullable(),
    duration_ms: z.number(),
    trigger: z.enum(refreshTriggers),
    run_id: z.string(),
  })
  .openapi('Attempt');

const listAttemptsRoute = createRoute({
  method: 'get',
  path: '/v1/connections/{id}/attempts',
  summary: 'How the newest attempts to refresh a connection ended',
  request: { params, query: z.strictObject(pageQuery) },
  responses: {
    200: {
      description: 'The newest first, at most 50 in all; next_cursor is null on the last page.',
      content: {
        'application/json': {
          schema: z
            .object({ items: z.array(attemptFields), next_cursor: z.string().nullable() })
            .openapi('AttemptPage'),
        },
      },
    },
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
    const result = await connections.put(id, readInput(c.req.valid('json')));
    const body = {
      ...describeConnection(result.connection, databaseClock.now()),
      ...(result.credentials === 'kept_newer' && { credentials: 'kept_newer' as const }),
    };
    return result.created ? answerJson(c, body, 201) : answerJson(c, body, 200);
  });

  app.openapi(getConnectionRoute, async (c) => {
    const { id } = c.req.valid('param');
    c.set('connectionId', id);
    const connection = await connections.get(id);
    if (connection === undefined) throw new TokenManagerError('connection_not_found');
    return answerJson(c, describeConnection(connection, databaseClock.now()), 200);
  });

  app.openapi(listConnectionsRoute, async (c) => {
    const query = c.req.valid('query');
    const page = await connections.list({
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
    const page = await connections.attempts(id, { limit, ...present({ cursor }) });
    if (page === undefined) throw new TokenManagerError('connection_not_found');
    const items = page.items.map(describeAttempt);
    return answerJson(c, { items, next_cursor: page.nextCursor }, 200);
  });
}

function readInput(body: z.output<typeof connectionInput>): ConnectionInput {
  return {
    tenantId: body.tenant_id,
    appId: body.app_id,
    ...present({
      accessToken: body.access_token,
      refreshToken: body.refresh_token,
      dpopKey: body.dpop_key,
      expiresInSeconds: body.expires_in,
      expiresAt: body.expires_at === undefined ? undefined : new Date(body.expires_at),
      scope: body.scope,
      variables: body.variables,
      metadata: body.metadata,
    }),
  };
}

function describeConnection(connection: Connection, now: Date) {
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
