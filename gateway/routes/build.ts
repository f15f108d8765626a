import { createRoute, z } from '@hono/zod-openapi';
import { answerJson } from '../answer-json.ts';
import { answeredInstant } from '../fields.ts';
import type { GatewayApp } from '../gateway-env.ts';
import { problemResponses, problemsOfEveryRoute } from '../problem-responses.ts';

/** What runs: from package.json and the build. */
export interface BuildInfo {
  name: string;
  version: string;
  commit: string;
  /** ISO 8601, or null when run from the sources. */
  builtAt: string | null;
  node: string;
  temporalSdk: string;
}

const buildRoute = createRoute({
  method: 'get',
  path: '/build',
  operationId: 'readBuild',
  tags: ['Probes'],
  security: [],
  summary: 'Which build answers',
  description: 'Name and version of the service, the commit and the versions it was built with.',
  responses: {
    200: {
      description: 'The build.',
      content: {
        'application/json': {
          schema: z
            .object({
              name: z.string(),
              version: z.string(),
              commit: z.string(),
              built_at: answeredInstant
                .nullable()
                .openapi({ description: 'Null when it runs from the sources.' }),
              node: z.string(),
              temporal_sdk: z.string(),
            })
            .openapi('Build'),
          example: {
            name: 'token-manager',
            version: '0.1.0',
            commit: '1b5805a1c0ffee0123456789abcdef0123456789',
            built_at: '2026-11-23T20:00:00.000Z',
            node: 'v20.20.2',
            temporal_sdk: '1.24.0',
          },
        },
      },
    },
    ...problemResponses(problemsOfEveryRoute),
  },
});

/** The version of the running service. */
export function addBuildRoute(app: GatewayApp, { build }: { build: BuildInfo }): void {
  app.openapi(buildRoute, (c) => {
    const { builtAt, temporalSdk, ...rest } = build;
    return answerJson(c, { ...rest, built_at: builtAt, temporal_sdk: temporalSdk }, 200);
  });
}
