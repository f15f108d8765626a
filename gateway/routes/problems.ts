import { createRoute, z } from '@hono/zod-openapi';
import { html } from 'hono/html';
import { problemKinds, TokenManagerError, type ProblemCode } from '../../client/contract.ts';
import { answerJson } from '../answer-json.ts';
import type { GatewayApp } from '../gateway-env.ts';
import { problemExplanations } from '../problem-explanations.ts';
import { problemResponses, problemsOfEveryRoute } from '../problem-responses.ts';

const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

const explanation = z
  .object({
    type: z.string(),
    code: z.string(),
    status: z.int(),
    retryable: z.boolean(),
    remedy: z.string(),
    summary: z.string(),
    meaning: z.string(),
    what_to_do: z.string(),
  })
  .openapi('ProblemExplanation');

const problemRoute = createRoute({
  method: 'get',
  path: '/problems/{code}',
  operationId: 'explainProblem',
  tags: ['Documents'],
  security: [],
  summary: 'What a problem means and what to do',
  description:
    'The `type` of every problem leads here. HTML where the caller accepts it, else JSON.',
  request: {
    params: z.object({
      code: z.string().openapi({ enum: Object.keys(problemKinds), example: 'refresh_uncertain' }),
    }),
  },
  responses: {
    200: {
      description: 'The problem explained.',
      content: {
        'application/json': { schema: explanation, example: explain('refresh_uncertain') },
        'text/html': { schema: z.string(), example: '<!doctype html>…' },
      },
    },
    ...problemResponses([...problemsOfEveryRoute, 'not_found']),
  },
});

/** Where the `type` of every problem leads. */
export function addProblemRoutes(app: GatewayApp): void {
  app.openapi(problemRoute, async (c) => {
    const { code } = c.req.valid('param');
    if (!isProblemCode(code)) {
      throw new TokenManagerError('not_found', { detail: 'There is no problem of this code.' });
    }
    c.header('Vary', 'Accept');
    const explained = explain(code);
    if (c.req.header('Accept')?.includes('text/html') !== true) {
      return answerJson(c, explained, 200);
    }
    const page = String(await pageOf(explained));
    c.set('responseBytes', Buffer.byteLength(page));
    c.header('Content-Security-Policy', pagePolicy);
    c.header('X-Content-Type-Options', 'nosniff');
    return c.body(page, 200, { 'Content-Type': 'text/html; charset=utf-8' });
  });
}

function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(problemKinds, code);
}

function explain(code: ProblemCode) {
  const { status, retryable, remedy, summary } = problemKinds[code];
  const { meaning, whatToDo } = problemExplanations[code];
  return {
    type: `/problems/${code}`,
    code,
    status,
    retryable,
    remedy,
    summary,
    meaning,
    what_to_do: whatToDo,
  };
}

function pageOf(explained: ReturnType<typeof explain>) {
  const { code, status, retryable, remedy, summary, meaning } = explained;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${code}</title>
        <style>
          body {
            font:
              1rem/1.5 system-ui,
              sans-serif;
            max-width: 42rem;
            margin: 3rem auto;
            padding: 0 1rem;
          }
          dt {
            font-weight: 600;
            margin-top: 1rem;
          }
          dd {
            margin: 0;
          }
        </style>
      </head>
      <body>
        <h1><code>${code}</code></h1>
        <p>${summary}</p>
        <dl>
          <dt>Status</dt>
          <dd>${status}</dd>
          <dt>What it means</dt>
          <dd>${meaning}</dd>
          <dt>What to do</dt>
          <dd>${explained.what_to_do}</dd>
          <dt>Try again</dt>
          <dd>${retryable ? 'Yes, after Retry-After.' : 'Not as it is.'}</dd>
          <dt>Remedy</dt>
          <dd><code>${remedy}</code></dd>
        </dl>
      </body>
    </html>`;
}
