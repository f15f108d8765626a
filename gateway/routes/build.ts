import { createRoute, z } from '@hono/zod-openapi';
import { answerJson } from '../answer-json.ts';
import type { GatewayApp } from '../gateway-env.ts';

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
  summary: 'Which build answers',
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
              built_at: z.string().nullable(),
              node: z.string(),
              temporal_sdk: z.string(),
            })
            .openapi('Build'),
        },
      },
    },
  },
});

/** The version of the running service. */
export function addBuildRoute(app: GatewayApp, { build }: { build: BuildInfo }): void {
  app.openapi(buildRoute, (c) => {
    const { builtAt, temporalSdk, ...rest } = build;
    return answerJson(c, { ...rest, built_at: builtAt, temporal_sdk: temporalSdk }, 200);
  });
}
