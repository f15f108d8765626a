import { describe, expect, it, vi } from 'vitest';
import { problemKinds, TokenManagerError, type ProblemCode } from '../../client/contract.ts';
import { createProblem } from '../../gateway/problem.ts';
import { call, connectionRow, createFakeGateway, expired } from './gateway-fakes.ts';

const codes = Object.keys(problemKinds) as ProblemCode[];

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
        reason: 'why',
      });
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
    expect(await allow('/v1/connections/c1')).toBe('PUT, GET, HEAD');
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
