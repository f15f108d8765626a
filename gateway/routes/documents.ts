import { createRoute, z } from '@hono/zod-openapi';
import { TokenManagerError } from '../../client/contract.ts';
import { answerJson } from '../answer-json.ts';
import { describeApi } from '../describe-api.ts';
import { docsFiles, docsPage, docsPolicy } from '../docs-page.ts';
import type { GatewayApp, GatewayContext } from '../gateway-env.ts';
import { problemResponses, problemsOfEveryRoute } from '../problem-responses.ts';

const html = 'text/html; charset=utf-8';

const documentRoute = createRoute({
  method: 'get',
  path: '/openapi.json',
  operationId: 'readDocument',
  tags: ['Documents'],
  security: [],
  summary: 'This document',
  description: 'OpenAPI 3.1, made from the schemas that check the requests.',
  responses: {
    200: {
      description: 'The document.',
      content: {
        'application/json': {
          schema: z.looseObject({ openapi: z.string(), paths: z.record(z.string(), z.unknown()) }),
          example: { openapi: '3.1.0', info: { title: 'Token manager' }, paths: {} },
        },
      },
    },
    ...problemResponses(problemsOfEveryRoute),
  },
});

const docsRoute = createRoute({
  method: 'get',
  path: '/docs',
  operationId: 'readDocs',
  tags: ['Documents'],
  security: [],
  summary: 'A page to read this document and to try it',
  description: 'Swagger UI, served by the service itself; the page loads nothing from elsewhere.',
  responses: {
    200: {
      description: 'The page.',
      content: { 'text/html': { schema: z.string(), example: '<!doctype html>…' } },
    },
    ...problemResponses(problemsOfEveryRoute),
  },
});

const docsFileRoute = createRoute({
  method: 'get',
  path: '/docs/{file}',
  operationId: 'readDocsFile',
  tags: ['Documents'],
  security: [],
  summary: 'What the page loads',
  description: 'Style and scripts of the page.',
  request: {
    params: z.object({
      file: z.string().openapi({ enum: Object.keys(docsFiles), example: 'start.js' }),
    }),
  },
  responses: {
    200: {
      description: 'The file.',
      content: {
        'text/css': { schema: z.string(), example: 'body { margin: 0 }' },
        'text/javascript': { schema: z.string(), example: 'SwaggerUIBundle({});' },
      },
    },
    ...problemResponses([...problemsOfEveryRoute, 'not_found']),
  },
});

/** What describes the service: the OpenAPI document, and a page over it. */
export function addDocumentRoutes(app: GatewayApp, { version }: { version: string }): void {
  let document: object | undefined;

  app.openapi(documentRoute, (c) => {
    // Made when it is first asked for: by then every route is there.
    document ??= describeApi(app, version);
    return answerJson(c, document as { openapi: string; paths: Record<string, unknown> }, 200);
  });

  const answerPage = (c: GatewayContext) => {
    c.header('Content-Security-Policy', docsPolicy);
    return answerText(c, docsPage, html);
  };
  app.openapi(docsRoute, answerPage);
  app.get('/docs/', answerPage);

  app.openapi(docsFileRoute, async (c) => {
    const { file } = c.req.valid('param');
    const found = Object.hasOwn(docsFiles, file) ? docsFiles[file] : undefined;
    if (found === undefined) throw new TokenManagerError('not_found');
    return answerText(c, await found.read(), found.contentType);
  });
}

function answerText(c: GatewayContext, text: string, contentType: string) {
  c.set('responseBytes', Buffer.byteLength(text));
  c.header('X-Content-Type-Options', 'nosniff');
  return c.body(text, 200, { 'Content-Type': contentType });
}
