import { apiDescription, apiHeaders, apiTags } from './api-components.ts';
import type { GatewayApp } from './gateway-env.ts';
import { present } from './present.ts';
import {
  headersOfEveryAnswer,
  problemExamples,
  problemSchema,
  problemSchemaName,
} from './problem-responses.ts';
import { securitySchemes } from './security-schemes.ts';

interface Answer {
  headers?: Record<string, unknown>;
  content?: unknown;
}

interface Operation {
  operationId: string;
  summary: string;
  responses: Record<string, Answer>;
}

type PathItem = Partial<Record<'get' | 'head' | 'put' | 'post' | 'delete', Operation>>;

/**
 * The OpenAPI 3.1 document of every route that the app has by now. Once for an app, for it registers the
 * components that all routes share.
 */
export function describeApi(app: GatewayApp, version: string): object {
  const registry = app.openAPIRegistry;
  registry.register(problemSchemaName, problemSchema);
  for (const [name, scheme] of Object.entries(securitySchemes)) {
    registry.registerComponent('securitySchemes', name, scheme);
  }
  for (const [name, header] of Object.entries(apiHeaders)) {
    registry.registerComponent('headers', name, header);
  }
  for (const [code, example] of Object.entries(problemExamples)) {
    registry.registerComponent('examples', code, example);
  }
  const document = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Token manager',
      version,
      description: apiDescription,
      license: { name: 'Apache 2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    servers: [{ url: '/', description: 'The service that answers this document.' }],
    tags: apiTags,
  });
  // The routes are all written with createRoute, which knows of nothing but these members.
  const paths = Object.entries((document.paths ?? {}) as Record<string, PathItem>);
  return {
    ...document,
    paths: Object.fromEntries(paths.map(([path, item]) => [path, completePath(item)])),
  };
}

/** HEAD beside every GET, and on every answer the headers that all have. */
function completePath(item: PathItem): PathItem {
  const completed: PathItem = Object.fromEntries(
    Object.entries(item).map(([method, operation]) => [method, withHeaders(operation)]),
  );
  return completed.get === undefined ? completed : { ...completed, head: headOf(completed.get) };
}

function withHeaders(operation: Operation): Operation {
  return mapAnswers(operation, (answer) => ({
    ...answer,
    headers: { ...headersOfEveryAnswer, ...answer.headers },
  }));
}

/** HEAD has the answers of GET without their bodies. */
function headOf(get: Operation): Operation {
  const head = mapAnswers(get, (answer) => present({ ...answer, content: undefined }));
  return { ...head, operationId: `${get.operationId}Head`, summary: `Headers of: ${get.summary}` };
}

function mapAnswers(operation: Operation, change: (answer: Answer) => Answer): Operation {
  const answers = Object.entries(operation.responses);
  return {
    ...operation,
    responses: Object.fromEntries(answers.map(([status, answer]) => [status, change(answer)])),
  };
}
