import { createRoute, z } from '@hono/zod-openapi';
import type { Readiness } from '../../platform/readiness.ts';
import { answerJson } from '../answer-json.ts';
import type { GatewayApp } from '../gateway-env.ts';

const pingRoute = createRoute({
  method: 'get',
  path: '/ping',
  summary: 'The process answers',
  responses: {
    200: {
      description: 'Always.',
      content: { 'application/json': { schema: z.object({ status: z.literal('ok') }) } },
    },
  },
});

const readinessAnswer = z
  .object({
    status: z.enum(['ready', 'degraded', 'not_ready']),
    checks: z.record(z.string(), z.enum(['ok', 'unavailable', 'unchecked'])),
  })
  .openapi('Readiness');

const readyRoute = createRoute({
  method: 'get',
  path: '/ready',
  summary: 'Whether this process should be sent requests',
  responses: {
    200: {
      description: 'Ready; or degraded, when fresh reads still go on.',
      content: { 'application/json': { schema: readinessAnswer } },
    },
    503: {
      description: 'Starting, or draining.',
      content: { 'application/json': { schema: readinessAnswer } },
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
