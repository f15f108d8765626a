import { createRoute, z } from '@hono/zod-openapi';
import type { Readiness } from '../../platform/readiness.ts';
import { answerJson } from '../answer-json.ts';
import type { GatewayApp } from '../gateway-env.ts';
import {
  problemResponses,
  problemSchemaOf,
  problemsOfEveryRoute,
  retryAfterHeader,
} from '../problem-responses.ts';

const pingRoute = createRoute({
  method: 'get',
  path: '/ping',
  operationId: 'ping',
  tags: ['Probes'],
  security: [],
  summary: 'The process answers',
  description: 'Asks nothing of anything else. Also served, plain, on METRICS_PORT.',
  responses: {
    200: {
      description: 'Always.',
      content: {
        'application/json': {
          schema: z.object({ status: z.literal('ok') }),
          example: { status: 'ok' },
        },
      },
    },
    ...problemResponses(problemsOfEveryRoute),
  },
});

const readinessAnswer = z
  .object({
    status: z.enum(['ready', 'degraded', 'not_ready']),
    checks: z.record(z.string(), z.enum(['ok', 'unavailable', 'namespace_not_found', 'unchecked'])),
  })
  .openapi('Readiness');

const readyRoute = createRoute({
  method: 'get',
  path: '/ready',
  operationId: 'readReadiness',
  tags: ['Probes'],
  security: [],
  summary: 'Whether this process should be sent requests',
  description:
    'A dependency that is away is `degraded` with 200, because fresh reads go on; 503 only while starting or draining. Also served, plain, on METRICS_PORT.',
  responses: {
    ...problemResponses(problemsOfEveryRoute),
    200: {
      description: 'Ready; or degraded, when fresh reads still go on.',
      content: {
        'application/json': {
          schema: readinessAnswer,
          example: { status: 'ready', checks: { postgres: 'ok', temporal: 'ok' } },
        },
      },
    },
    503: {
      description: 'Starting, or draining; or a problem where the service is overloaded.',
      headers: { 'Retry-After': retryAfterHeader },
      content: {
        'application/json': {
          schema: readinessAnswer,
          example: { status: 'not_ready', checks: { postgres: 'unavailable', temporal: 'ok' } },
        },
        'application/problem+json': { schema: problemSchemaOf(['overloaded']) },
      },
    },
  },
});

/** What load balancers and orchestrators ask. */
export function addProbeRoutes(
  app: GatewayApp,
  { readiness }: { readiness: () => Readiness },
): void {
  app.openapi(pingRoute, (c) => answerJson(c, { status: 'ok' as const }, 200));

  app.openapi(readyRoute, (c) => {
    const current = readiness();
    if (current.status !== 'not_ready') return answerJson(c, current, 200);
    c.header('Retry-After', '1');
    return answerJson(c, current, 503);
  });
}
