import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { problemKinds, TokenManagerError, type ProblemCode } from '../../client/contract.ts';
import { createProblem } from '../../gateway/problem.ts';
import { createRefreshFlights } from '../../gateway/refresh-flights.ts';
import { call, connectionRow, createFakeGateway, expired, startsAt } from './gateway-fakes.ts';

const codes = Object.keys(problemKinds) as ProblemCode[];

/**
 * The test file that provokes each code, by what is at fault and not by throwing it: from end to end
 * where the fault lies behind the gateway.
 */
const provokedIn: Record<ProblemCode, string> = {
  input_validation: 'gateway/input-validation',
  unauthenticated: 'cli/callers',
  forbidden: 'gateway/route-access',
  connection_not_found: 'gateway/problems',
  app_not_found: 'gateway/problems',
  provider_not_found: 'gateway/problems',
  not_found: 'gateway/problems',
  method_not_allowed: 'gateway/problems',
  request_timeout: 'gateway/http-limits',
  unsupported_media_type: 'gateway/problems',
  connection_id_taken: 'connections/import-connection',
  credential_in_use: 'connections/import-connection',
  app_in_use: 'connections/app-registry',
  connection_revoking: 'conformance/life',
  refresh_not_possible: 'gateway/token-routes',
  request_too_large: 'gateway/problems',
  headers_too_large: 'gateway/compose-gateway',
  reauthorization_required: 'conformance/answers',
  connection_paused: 'conformance/life',
  app_misconfigured: 'conformance/apps',
  egress_refused: 'conformance/answers',
  refresh_limited: 'conformance/apps',
  provider_answer_unusable: 'gateway/token-routes',
  refresh_in_progress: 'gateway/token-routes',
  refresh_uncertain: 'conformance/rotation-classes',
  provider_unavailable: 'conformance/answers',
  provider_rate_limited: 'conformance/apps',
  store_unavailable: 'conformance/cache',
  key_service_unavailable: 'conformance/cloud-kms',
  refresh_engine_unavailable: 'cli/temporal-outage',
  overloaded: 'gateway/http-limits',
  internal: 'gateway/problems',
};

const testFolder = new URL('../', import.meta.url);
const testSources = new Map(
  readdirSync(testFolder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => [
      file.replace(/(?:\.stack)?\.test\.ts$/, ''),
      readFileSync(new URL(file, testFolder), 'utf8'),
    ]),
);
const documented = readFileSync(new URL('../../docs/http.md', import.meta.url), 'utf8');

describe('R51 every code', () => {
  it.each(codes)('R51 %s is provoked by a test and documented', (code) => {
    const source = testSources.get(provokedIn[code]) ?? '';
    // Beside the table above, which names them all.
    const others = source.replace(/provokedIn: Record[^}]*}/, '');
    expect([provokedIn[code], others.includes(`'${code}'`)]).toEqual([provokedIn[code], true]);
    const table = documented.slice(documented.indexOf('## Problems'));
    expect([code, new RegExp(`\\b${code}\\b`).test(table)]).toEqual([code, true]);
  });

  it('R51 overloaded: beyond 10,000 refreshes under way', async () => {
    const hanging = { refresh: () => new Promise<undefined>(() => undefined) };
    const flights = createRefreshFlights({ refreshEngine: hanging, onJoined: () => undefined });
    const join = (id: number) =>
      flights.join({
        connectionId: `c${id}`,
        tenantId: 't1',
        provider: 'demo',
        newerThan: 1,
        trigger: 'read',
        requestedAt: startsAt,
        traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
      });
    for (let id = 0; id < 10_000; id += 1) void join(id);
    await expect(join(10_000)).rejects.toMatchObject({ code: 'overloaded' });
  });
});

describe('R51 every problem the service can give', () => {
  it.each(codes)(
    'R51 %s is problem+json with a stable type, no-store and its Retry-After',
    async (code) => {
      const kind = problemKinds[code];
      const { app, engine } = createFakeGateway({ row: connectionRow(expired) });
      engine.respond = () =>
        Promise.reject(new TokenManagerError(code, { detail: 'text of the cause', reason: 'why' }));
      const { status, headers, json, text } = await call(app, 'GET', '/v1/connections/c1/token');
      expect(status).toBe(kind.status);
      expect(headers.get('Content-Type')).toBe('application/problem+json');
      expect(headers.get('Cache-Control')).toBe('no-store');
      expect(headers.get('X-Request-Id')).toBe(json['request_id']);
      expect(json).toMatchObject({
        type: `/problems/${code}`,
        title: code === 'input_validation' ? 'InputValidationProblem' : 'ApplicationProblem',
        status: kind.status,
        code,
        retryable: kind.retryable,
        remedy: kind.remedy,
        connection_id: 'c1',
      });
      // Why a service of ours is away is for the log.
      expect(json['reason']).toBe(kind.status < 500 ? 'why' : undefined);
      const waits = kind.retryable || status === 429 || status === 503;
      expect(headers.get('Retry-After')).toBe(waits ? '1' : null);
      expect(json['retry_after_seconds']).toBe(waits ? 1 : undefined);
      // What a fault of the service says is found in the log only.
      expect(text.includes('text of the cause')).toBe(status < 500);
    },
  );

  it.each<[string, string, string, RequestInit, ProblemCode]>([
    ['an unknown route', 'GET', '/v2/nothing', {}, 'not_found'],
    ['a method a route does not take', 'PATCH', '/v1/connections/c1', {}, 'method_not_allowed'],
    ['an invalid id', 'GET', '/v1/connections/a%20b', {}, 'input_validation'],
    ['an unknown connection', 'GET', '/v1/connections/none', {}, 'connection_not_found'],
    ['an unknown app', 'GET', '/v1/apps/none', {}, 'app_not_found'],
    ['an unknown provider', 'GET', '/v1/providers/none', {}, 'provider_not_found'],
    ['a slash at the end', 'GET', '/v1/apps/', {}, 'not_found'],
    ['two slashes', 'GET', '/v1//apps', {}, 'not_found'],
    ['an encoded slash', 'GET', '/v1/connections/c1%2Ftoken', {}, 'input_validation'],
    ['dots that lead up', 'GET', '/v1/connections/%2e%2e/token', {}, 'not_found'],
    ['a path that is not UTF-8', 'GET', '/v1/connections/%ff/token', {}, 'input_validation'],
    ['NUL in an id', 'GET', '/v1/connections/c%001/token', {}, 'input_validation'],
    ['an id of 256', 'GET', `/v1/connections/${'x'.repeat(256)}`, {}, 'input_validation'],
    ['a parameter given twice', 'GET', '/v1/apps?limit=1&limit=1', {}, 'input_validation'],
    ['a list in brackets', 'GET', '/v1/apps?limit[]=1', {}, 'input_validation'],
    ['__proto__ as a parameter', 'GET', '/v1/apps?__proto__=1', {}, 'input_validation'],
    ['OPTIONS', 'OPTIONS', '/v1/apps', {}, 'method_not_allowed'],
    ['a method nobody knows', 'PROPFIND', '/ping', {}, 'method_not_allowed'],
    ...[
      'application/json; charset=iso-8859-1',
      'application/json;charset=utf-16',
      'application/problem+json',
      'application/vnd.api+json',
      'application/jsonx',
      'text/json',
      'text/plain; charset=application/json',
    ].map((type): [string, string, string, RequestInit, ProblemCode] => [
      `a body of ${type}`,
      'PUT',
      '/v1/apps/a1',
      { body: '{}', headers: { 'Content-Type': type } },
      'unsupported_media_type',
    ]),
    [
      'JSON in another charset than it says',
      'PUT',
      '/v1/apps/a1',
      {
        body: new Uint8Array([0x7b, 0xff, 0x7d]),
        headers: { 'Content-Type': 'application/json; charset=utf-8' },
      },
      'input_validation',
    ],
    [
      'no body where one is needed',
      'PUT',
      '/v1/apps/a1',
      { headers: { 'Content-Type': 'application/json' } },
      'input_validation',
    ],
    [
      'a body that breaks off',
      'PUT',
      '/v1/apps/a1',
      {
        body: new ReadableStream({ pull: (controller) => controller.error(new Error('gone')) }),
        headers: { 'Content-Type': 'application/json' },
        duplex: 'half',
      },
      'request_timeout',
    ],
    [
      'a body that is not JSON',
      'PUT',
      '/v1/apps/a1',
      { body: 'a=b', headers: { 'Content-Type': 'application/x-www-form-urlencoded' } },
      'unsupported_media_type',
    ],
    [
      'a body of no declared type',
      'PUT',
      '/v1/apps/a1',
      { body: new TextEncoder().encode('{}') },
      'unsupported_media_type',
    ],
    [
      'a body beyond 1 MiB',
      'PUT',
      '/v1/apps/a1',
      { body: 'x'.repeat(1_048_577), headers: { 'Content-Type': 'application/json' } },
      'request_too_large',
    ],
  ])('R51 %s', async (_fault, method, path, init, code) => {
    const { app } = createFakeGateway();
    const { status, headers, json } = await call(app, method, path, undefined, init);
    expect([status, json['code'], json['type']]).toEqual([
      problemKinds[code].status,
      code,
      `/problems/${code}`,
    ]);
    expect(headers.get('Content-Type')).toBe('application/problem+json');
    expect(headers.get('Cache-Control')).toBe('no-store');
  });
});

describe('a problem', () => {
  it('rounds Retry-After up, to a second at least', () => {
    const retryAfter = (retryAfterSeconds: number) =>
      createProblem(new TokenManagerError('refresh_limited', { retryAfterSeconds }), {
        requestId: 'r',
      }).headers['Retry-After'];
    expect([retryAfter(0), retryAfter(0.2), retryAfter(41.5)]).toEqual(['1', '1', '42']);
  });

  it('leaves out what it does not know', () => {
    const { body } = createProblem(new TokenManagerError('internal'), { requestId: 'r' });
    expect(Object.keys(body).sort()).toEqual(
      ['type', 'title', 'status', 'detail', 'code', 'retryable', 'remedy', 'request_id'].sort(),
    );
  });

  it('names the methods a route takes', async () => {
    const { app } = createFakeGateway();
    const allow = async (path: string) => (await call(app, 'PATCH', path)).headers.get('Allow');
    expect(await allow('/v1/connections/c1/token')).toBe('GET, HEAD');
    expect(await allow('/v1/connections/c1/token/refresh')).toBe('POST');
    expect(await allow('/v1/connections/c1')).toBe('PUT, GET, HEAD, DELETE');
    expect(await allow('/v1/connections/c1/pause')).toBe('POST');
    expect(await allow('/v1/apps/a1')).toBe('PUT, GET, HEAD, DELETE');
    expect(await allow('/ping')).toBe('GET, HEAD');
  });

  it('of an unknown fault logs the cause once, found by request_id, and tells nothing', async () => {
    const gateway = createFakeGateway();
    vi.spyOn(gateway.rows, 'get').mockImplementation(() => {
      throw new Error('canary: relation does not exist');
    });
    const { status, text, json } = await call(gateway.app, 'GET', '/v1/connections/c1/token');
    expect([status, text.includes('canary')]).toEqual([500, false]);
    const logged = gateway.lines.filter((line) => line.includes('canary'));
    expect(logged).toHaveLength(1);
    expect(logged[0]).toContain(String(json['request_id']));
  });

  it('of a dependency that is away logs why', async () => {
    const gateway = createFakeGateway();
    vi.spyOn(gateway.rows, 'get').mockImplementation(() => {
      throw new TokenManagerError('store_unavailable', { cause: new Error('ECONNREFUSED 5432') });
    });
    const { status, headers, text } = await call(gateway.app, 'GET', '/v1/connections/c1/token');
    expect([status, headers.get('Retry-After')]).toEqual([503, '1']);
    expect(text).not.toContain('ECONNREFUSED');
    expect(gateway.lines.some((line) => line.includes('ECONNREFUSED'))).toBe(true);
  });
});
