import { describe, expect, it } from 'vitest';
import { createGatewayFor } from './caller-fixtures.ts';
import { call, createFakeGateway } from './gateway-fakes.ts';

const asks = { 'X-Debug-Request': 'true' };
const known = { Authorization: 'Bearer key' };
const json = { 'Content-Type': 'application/json' };

function debugLines(lines: string[]): Record<string, unknown>[] {
  return lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line['debug_request'] === true);
}

describe('a request that asks for it', () => {
  it('is logged at length where that is allowed, also at LOG_LEVEL=warn', async () => {
    const { app, lines } = createGatewayFor(
      { scopes: ['tokens:read'] },
      { debugRequests: 'asked' },
    );
    const path = '/v1/connections/c1/token?min_ttl_seconds=30';
    await call(app, 'GET', path, undefined, { headers: { ...asks, ...known, 'User-Agent': 'u' } });
    const [line, ...more] = debugLines(lines);
    expect(more).toEqual([]);
    expect(line).toMatchObject({
      level: 'info',
      msg: 'debug request',
      request: {
        method: 'GET',
        route: '/v1/connections/{id}/token',
        query: { min_ttl_seconds: '30' },
        headers: { 'user-agent': 'u', 'x-debug-request': 'true' },
      },
      answer: {
        status: 200,
        headers: { 'cache-control': 'no-store' },
        body: { connection_id: 'c1', token_version: 7, refreshed: false },
      },
      caller: { name: 'billing', scopes: ['tokens:read'], tenant_count: 'all' },
      token_source: 'store',
      connection_id: 'c1',
    });
    expect(line?.['duration_ms']).toBeTypeOf('number');
    expect(line?.['request_id']).toBeTypeOf('string');
  });

  it.each([
    ['where it is not allowed', 'never', { ...asks, ...known }],
    ['that does not ask', 'asked', known],
    ['that asks for something else', 'asked', { 'X-Debug-Request': '1', ...known }],
    ['of nobody that is known', 'asked', asks],
  ] as const)('is not: one %s', async (_which, debugRequests, headers) => {
    const { app, lines } = createGatewayFor({ scopes: ['tokens:read'] }, { debugRequests });
    await call(app, 'GET', '/v1/connections/c1/token', undefined, { headers });
    await call(app, 'GET', '/ping', undefined, { headers });
    expect(debugLines(lines)).toEqual([]);
  });
});

describe('every request', () => {
  it('is logged at length where that is required, refused and unknown ones too', async () => {
    const { app, lines } = createGatewayFor({ scopes: [] }, { debugRequests: 'always' });
    await call(app, 'GET', '/ping');
    await call(app, 'GET', '/v1/apps');
    await call(app, 'GET', '/v1/apps', undefined, { headers: known });
    await call(app, 'GET', '/nothing');
    const answers = debugLines(lines).map(({ answer }) => answer as Record<string, unknown>);
    expect(answers.map(({ status, problem }) => [status, problem])).toEqual([
      [200, undefined],
      [401, 'unauthenticated'],
      [403, 'forbidden'],
      [401, 'unauthenticated'],
    ]);
  });
});

describe('the line', () => {
  /** Whatever a caller or a provider could keep secret holds this. */
  const canary = 'canary-9f3a';

  it('holds no secret of a request or an answer, wherever it stands', async () => {
    const { app, lines, rows, row } = createFakeGateway({ debugRequests: 'always' });
    rows.set('c1', { ...row, metadata: { note: canary, status: canary } });
    const headers = { ...asks, ...json, Authorization: `Bearer ${canary}`, Cookie: `s=${canary}` };
    const send = (method: string, path: string, body?: unknown) =>
      call(app, method, path, body, {
        headers: { ...headers, [canary]: canary },
        ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
    const connection = {
      tenant_id: 't1',
      app_id: 'a1',
      access_token: canary,
      refresh_token: canary,
      dpop_key: { kty: 'EC', d: canary },
      metadata: { status: canary, [canary]: { scope: canary } },
      variables: { subdomain: canary },
    };
    const registration = {
      provider: 'generic',
      client_id: canary,
      client_secrets: [canary],
      private_key: { pem: canary, kid: canary },
      overrides: { token_url: `https://a.test/?k=${canary}`, extra: { scope: canary } },
      limits: { per_window: { count: 5, seconds: 60 } },
    };
    await send('PUT', '/v1/connections/c1', connection);
    await send('PUT', '/v1/connections/c1', { ...connection, refresh_tokn: canary, [canary]: 1 });
    await send('PUT', '/v1/connections/c1', `{"refresh_token": "${canary}"`);
    await send('PUT', '/v1/apps/a1', registration);
    await send('GET', '/v1/connections/c1/token');
    await send('GET', '/v1/connections/c1');
    await send('GET', `/v1/connections/c1?token=${canary}&${canary}=1`);
    await send('GET', `/${canary}/${canary}`);
    await send(canary, '/ping');
    const logged = debugLines(lines);
    expect(logged).toHaveLength(9);
    // A method is no place for a secret, and is what the line has to tell.
    const found = logged.slice(0, -1).map((line) => JSON.stringify(line));
    expect(found.filter((line) => line.includes(canary))).toEqual([]);
    expect(found.some((line) => line.includes('an-access-token'))).toBe(false);
  });

  it('tells the kind and size of what it leaves out', async () => {
    const { app, lines } = createFakeGateway({ debugRequests: 'always' });
    await call(app, 'PUT', '/v1/apps/a1', {
      provider: 'demo',
      client_id: 'client',
      client_secrets: ['one', 'two'],
      overrides: { a: 1 },
      limits: { concurrency: 4 },
      tenant_ids: ['t1', 't2'],
    });
    await call(app, 'PUT', '/v1/apps/a1', undefined, { body: 'no json', headers: json });
    const [first, second] = debugLines(lines).map(({ request }) => request as { body: unknown });
    expect(first?.body).toEqual({
      provider: 'demo',
      client_id: '[string of 6 characters]',
      client_secrets: '[redacted]',
      overrides: '[object of 1]',
      limits: { concurrency: 4 },
      tenant_ids: ['t1', 't2'],
    });
    expect(second?.body).toBe('[no JSON, 7 characters]');
  });

  it('stays short and one line, whatever was sent', async () => {
    const { app, lines } = createFakeGateway({ debugRequests: 'always' });
    const long = 'x'.repeat(50_000);
    await call(app, 'PUT', '/v1/connections/c1', { tenant_id: `${long}\n`, [long]: 1 });
    await call(app, 'GET', '/openapi.json');
    for (const line of lines.filter((each) => each.includes('"debug_request":true'))) {
      expect(line.length).toBeLessThan(8_000);
      expect(line.trimEnd()).not.toContain('\n');
    }
    expect(debugLines(lines)).toHaveLength(2);
  });
});
