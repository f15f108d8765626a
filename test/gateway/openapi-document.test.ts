import { fileURLToPath } from 'node:url';
import { lintFromString, loadConfig } from '@redocly/openapi-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { problemKinds } from '../../client/contract.ts';
import { call, createFakeGateway } from './gateway-fakes.ts';

interface Answer {
  headers: Record<string, unknown>;
  content?: Record<string, { schema: Record<string, unknown>; examples?: Record<string, unknown> }>;
}
interface Operation {
  operationId: string;
  summary: string;
  description: string;
  security: Record<string, string[]>[];
  parameters?: { name: string; in: string; schema: Record<string, unknown> }[];
  requestBody?: object;
  responses: Record<string, Answer>;
}
interface Document {
  openapi: string;
  info: { version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Record<string, unknown>>; securitySchemes: object };
}

const { app } = createFakeGateway();
let document: Document;
let operations: [string, Operation][];

beforeAll(async () => {
  const { json } = await call(app, 'GET', '/openapi.json');
  document = json as unknown as Document;
  operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]): [string, Operation] => [
      `${method.toUpperCase()} ${path}`,
      operation,
    ]),
  );
});

function operation(name: string): Operation {
  const found = operations.find(([known]) => known === name);
  if (found === undefined) throw new Error(`There is no ${name}.`);
  return found[1];
}

describe('the OpenAPI document', () => {
  it('has every route of the router, and no other', () => {
    const routes = app.routes
      .filter(({ method }) => method !== 'ALL')
      // A page may also be asked for with a slash at its end.
      .map(({ method, path }) => `${method} ${path.replace(/(.)\/$/, '$1')}`)
      .flatMap((route) =>
        route.startsWith('GET ') ? [route, route.replace('GET', 'HEAD')] : route,
      )
      .map((route) => route.replaceAll(/:(\w+)/g, '{$1}'));
    expect(operations.map(([name]) => name).sort()).toEqual([...new Set(routes)].sort());
  });

  it('is OpenAPI 3.1 of this version', () => {
    expect([document.openapi, document.info.version]).toEqual(['3.1.0', '0.1.0']);
  });

  it('has no finding of the linter', async () => {
    const rules = fileURLToPath(new URL('../../redocly.yaml', import.meta.url));
    const config = await loadConfig({ configPath: rules });
    const source = JSON.stringify(document);
    const findings = await lintFromString({ source, absoluteRef: '/openapi.json', config });
    expect(
      findings.map(({ ruleId, message, location }) => [ruleId, message, location[0]?.pointer]),
    ).toEqual([]);
  });

  it('tells for every operation who may call it, and every problem it can answer', () => {
    for (const [name, { security, responses }] of operations) {
      const isOfCallers = name.includes(' /v1/');
      expect([name, security.map((scheme) => Object.keys(scheme))]).toEqual([
        name,
        isOfCallers ? [['bearerKey'], ['mutualTls'], []] : [],
      ]);
      const statuses = Object.keys(responses);
      expect([name, statuses]).toEqual([
        name,
        expect.arrayContaining(isOfCallers ? ['400', '401', '403', '405', '500'] : ['405', '500']),
      ]);
    }
  });

  it('enumerates the codes of each status, with an example, and names their headers', () => {
    const seen = new Set<string>();
    for (const [name, { responses }] of operations) {
      for (const [status, { content, headers }] of Object.entries(responses)) {
        expect(Object.keys(headers)).toEqual(
          expect.arrayContaining(['X-Request-Id', 'Cache-Control']),
        );
        if (Number(status) < 400) continue;
        const header = {
          401: 'WWW-Authenticate',
          405: 'Allow',
          429: 'Retry-After',
          503: 'Retry-After',
        };
        const wanted = header[Number(status) as keyof typeof header] as string | undefined;
        if (wanted !== undefined)
          expect([name, Object.keys(headers)]).toEqual([name, expect.arrayContaining([wanted])]);
        const examples = content?.['application/problem+json']?.examples;
        for (const code of Object.keys(examples ?? {})) {
          expect(String(problemKinds[code as keyof typeof problemKinds].status)).toBe(status);
          seen.add(code);
        }
      }
    }
    // `not_found` of an unknown path belongs to no operation but those whose paths name files and codes.
    expect([...seen].sort()).toEqual(Object.keys(problemKinds).sort());
  });

  it('states limits and patterns of parameters and bodies', () => {
    const parameters = operation('GET /v1/connections/{id}/token').parameters ?? [];
    const schemas = Object.fromEntries(parameters.map(({ name, schema }) => [name, schema]));
    expect(schemas).toMatchObject({
      id: { type: 'string', minLength: 1, maxLength: 255, pattern: expect.any(String) as string },
      min_ttl_seconds: { type: 'integer', minimum: 0, maximum: 86_400 },
      wait_seconds: { type: 'integer', minimum: 0, maximum: 60, default: 10 },
    });
    expect(document.components.schemas).toMatchObject({
      ConnectionInput: { additionalProperties: false, required: ['tenant_id', 'app_id'] },
      AppLimits: { properties: { concurrency: { type: 'integer', minimum: 1, maximum: 1_000 } } },
    });
  });

  it('is answered to HEAD without a body, as every GET is', async () => {
    for (const path of ['/openapi.json', '/docs', '/problems/internal', '/v1/providers']) {
      const { status, text } = await call(app, 'HEAD', path);
      expect([path, status, text]).toEqual([path, 200, '']);
    }
    const { responses } = operation('HEAD /v1/connections/{id}/token');
    expect(Object.values(responses).some(({ content }) => content !== undefined)).toBe(false);
  });
});
