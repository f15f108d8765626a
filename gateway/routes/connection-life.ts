import { createRoute } from '@hono/zod-openapi';
import { TokenManagerError } from '../../client/contract.ts';
import type { Connection } from '../../connections/connection.ts';
import type { ConnectionRegistry } from '../../connections/registry.ts';
import type { DatabaseClock } from '../../platform/clock.ts';
import { callerOf } from '../admit-callers.ts';
import { answerJson } from '../answer-json.ts';
import { connectionParams, noQuery } from '../fields.ts';
import type { GatewayApp } from '../gateway-env.ts';
import { problemResponses, problemsOfCallers } from '../problem-responses.ts';
import { scopes } from '../security-schemes.ts';
import { connectionAnswer, connectionExample, describeConnection } from './connections.ts';

const lifeProblems = [...problemsOfCallers, 'store_unavailable', 'connection_not_found'] as const;
const request = { params: connectionParams, query: noQuery };
const answered = (description: string, changes: Partial<typeof connectionExample> = {}) => ({
  description,
  content: {
    'application/json': { schema: connectionAnswer, example: { ...connectionExample, ...changes } },
  },
});

const pauseRoute = createRoute({
  method: 'post',
  path: '/v1/connections/{id}/pause',
  operationId: 'pauseConnection',
  tags: ['Connections'],
  security: scopes('connections:write'),
  summary: 'Stop refreshing a connection',
  description:
    'Its token is served while it is valid. A refresh under way ends and is stored. May be repeated.',
  request,
  responses: {
    200: answered('The connection, paused.', { status: 'paused' }),
    ...problemResponses([...lifeProblems, 'connection_revoking']),
  },
});

const resumeRoute = createRoute({
  method: 'post',
  path: '/v1/connections/{id}/resume',
  operationId: 'resumeConnection',
  tags: ['Connections'],
  security: scopes('connections:write'),
  summary: 'Refresh a connection again',
  description:
    'Ends a pause. Where the customer is said to be needed, one refresh is tried all the same: the verdict stands until its answer says otherwise. May be repeated.',
  request,
  responses: {
    200: answered('The connection.'),
    ...problemResponses([...lifeProblems, 'connection_revoking']),
  },
});

const deleteRoute = createRoute({
  method: 'delete',
  path: '/v1/connections/{id}',
  operationId: 'deleteConnection',
  tags: ['Connections'],
  security: scopes('connections:write'),
  summary: 'Disconnect: no token can be read any more, and the grant is revoked at the provider',
  description:
    'Where the provider has a revocation endpoint (RFC 7009) its tokens are revoked there, those of a refresh under way too; tried for 7 days. May be repeated: 202 until that is done, 204 afterwards. The id may then be used again.',
  request,
  responses: {
    202: answered('Deleted here; the provider is being told.', { status: 'revoking' }),
    204: { description: 'Deleted, and nothing is left to be done.' },
    ...problemResponses(lifeProblems),
  },
});

interface LifeDependencies {
  connections: Pick<ConnectionRegistry, 'get' | 'pause' | 'resume' | 'disconnect'>;
  /** Refreshes a connection behind the answer, to see whether its verdict still holds. */
  startProbe: (connection: Connection, traceparent: string) => void;
  /** Carries a disconnect on; what it does not start the sweep does. */
  startRevocation: (connectionId: string) => void;
  databaseClock: DatabaseClock;
}

/** Pause, resume and disconnect. */
export function addConnectionLifeRoutes(app: GatewayApp, dependencies: LifeDependencies): void {
  const { connections, databaseClock, startProbe, startRevocation } = dependencies;

  app.openapi(pauseRoute, async (c) => {
    const { id } = c.req.valid('param');
    c.set('connectionId', id);
    const connection = await connections.pause(id, callerOf(c).tenants);
    if (connection === undefined) throw new TokenManagerError('connection_not_found');
    return answerJson(c, describeConnection(connection, databaseClock.now()), 200);
  });

  app.openapi(resumeRoute, async (c) => {
    const { id } = c.req.valid('param');
    c.set('connectionId', id);
    const connection = await connections.resume(id, callerOf(c).tenants);
    if (connection === undefined) throw new TokenManagerError('connection_not_found');
    if (connection.probeRequestedAt !== null) startProbe(connection, c.get('span').traceparent);
    return answerJson(c, describeConnection(connection, databaseClock.now()), 200);
  });

  app.openapi(deleteRoute, async (c) => {
    const { id } = c.req.valid('param');
    c.set('connectionId', id);
    const { tenants } = callerOf(c);
    const state = await connections.disconnect(id, tenants);
    if (state === undefined) throw new TokenManagerError('connection_not_found');
    if (state === 'revoking') startRevocation(id);
    const connection = state === 'done' ? undefined : await connections.get(id, tenants);
    if (connection === undefined) return c.body(null, 204);
    return answerJson(c, describeConnection(connection, databaseClock.now()), 202);
  });
}
