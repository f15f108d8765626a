import { describe, expect, it } from 'vitest';
import { call, createFakeGateway } from './gateway-fakes.ts';

const tokenPath = '/v1/connections/c1/token';
const refreshPath = '/v1/connections/c1/token/refresh';

function refused(answer: Awaited<ReturnType<typeof call>>) {
  expect([answer.status, answer.json['code']]).toEqual([400, 'input_validation']);
  return answer.json['errors'] as { pointer?: string; parameter?: string; detail: string }[];
}

describe('parameters', () => {
  it.each([
    ['min_ttl_seconds=-1', 'min_ttl_seconds'],
    ['min_ttl_seconds=86401', 'min_ttl_seconds'],
    ['min_ttl_seconds=1e2', 'min_ttl_seconds'],
    ['min_ttl_seconds=1.5', 'min_ttl_seconds'],
    ['min_ttl_seconds=', 'min_ttl_seconds'],
    ['min_ttl_seconds=%201', 'min_ttl_seconds'],
    ['min_ttl_seconds=1%00', 'min_ttl_seconds'],
    ['min_ttl_seconds=1&min_ttl_seconds=2', 'min_ttl_seconds'],
    ['wait_seconds=61', 'wait_seconds'],
    ['min_token_version=99999999999999999999', 'min_token_version'],
    ['min_ttl=60', 'min_ttl'],
  ])('%s is refused by name', async (query, parameter) => {
    const faults = refused(await call(createFakeGateway().app, 'GET', `${tokenPath}?${query}`));
    expect(faults).toMatchObject([{ parameter }]);
  });

  it.each(['min_ttl_seconds=0', 'min_ttl_seconds=1000', 'wait_seconds=60', 'min_token_version=0'])(
    '%s is taken',
    async (query) => {
      const { status } = await call(createFakeGateway().app, 'GET', `${tokenPath}?${query}`);
      expect(status).toBe(200);
    },
  );

  it.each(['limit=0', 'limit=501', 'status=broken', 'tenant_id=a/b', 'cursor=%00', 'app_id=..'])(
    'a list refuses %s',
    async (query) => {
      const { app } = createFakeGateway();
      const faults = refused(await call(app, 'GET', `/v1/connections?${query}`));
      expect(faults).toMatchObject([{ parameter: query.split('=')[0] }]);
    },
  );

  it.each(['a b', 'a/b', 'a\u0000', 'ü', 'x'.repeat(256), '%', '%zz'])(
    'the id %j is refused on every route',
    async (id) => {
      const { app } = createFakeGateway();
      const path = `/v1/connections/${id === '%' || id === '%zz' ? id : encodeURIComponent(id)}`;
      for (const route of [path, `${path}/token`]) {
        expect(refused(await call(app, 'GET', route))).toMatchObject([{ parameter: 'id' }]);
      }
    },
  );

  it('takes every character an id may have', async () => {
    const { app } = createFakeGateway();
    const { status } = await call(app, 'GET', '/v1/connections/A-z.0_:~9');
    expect(status).toBe(404);
  });
});

describe('bodies', () => {
  const valid = { tenant_id: 't1', app_id: 'a1' };

  it('tell a member that is not there from one of another type', async () => {
    const put = (body: unknown) =>
      call(createFakeGateway().app, 'PUT', '/v1/connections/c1', body).then(refused);
    expect(await put({ tenant_id: 't1' })).toEqual([{ pointer: '/app_id', detail: 'is required' }]);
    expect(await put({ ...valid, app_id: 5 })).toEqual([
      { pointer: '/app_id', detail: 'must be a string' },
    ]);
  });

  it.each<[string, unknown, string]>([
    ['a missing member', { tenant_id: 't1' }, '/app_id'],
    ['null for text', { ...valid, scope: null }, '/scope'],
    ['a number for text', { ...valid, access_token: 5 }, '/access_token'],
    ['text for a number', { ...valid, expires_in: '3600' }, '/expires_in'],
    ['a fraction', { ...valid, expires_in: 1.5 }, '/expires_in'],
    ['a time that is none', { ...valid, expires_at: 'tomorrow' }, '/expires_at'],
    ['seconds for a time', { ...valid, expires_at: 1_790_000_000 }, '/expires_at'],
    [
      'both expiries',
      { ...valid, expires_in: 1, expires_at: '2026-11-23T12:00:00Z' },
      '/expires_at',
    ],
    ['an unknown member', { ...valid, refresh: 'x' }, '/refresh'],
    ['NUL in text', { ...valid, scope: 'a\u0000b' }, '/scope'],
    ['NUL in a token', { ...valid, refresh_token: 'a\u0000b' }, '/refresh_token'],
    ['a newline after a token', { ...valid, access_token: 'a\n' }, '/access_token'],
    ['an empty token', { ...valid, access_token: '' }, '/access_token'],
    ['NUL in metadata', { ...valid, metadata: { deep: [{ 'a\u0000': 1 }] } }, '/metadata'],
    ['half a surrogate pair', { ...valid, metadata: { text: '\ud800' } }, '/metadata'],
    ['a variable that is no text', { ...valid, variables: { a: 1 } }, '/variables/a'],
    ['a bad id', { ...valid, app_id: '..' }, '/app_id'],
    ['an array', [], ''],
    ['text', 'text', ''],
  ])('%s is refused by JSON pointer', async (_fault, body, pointer) => {
    const { app, puts } = createFakeGateway();
    const faults = refused(await call(app, 'PUT', '/v1/connections/c1', body));
    expect(faults).toMatchObject([{ pointer }]);
    expect(puts).toHaveLength(0);
  });

  it.each([
    [{ per_window: { count: 0, seconds: 60 } }, '/limits/per_window/count'],
    [{ per_window: { count: 1_001, seconds: 60 } }, '/limits/per_window/count'],
    [{ per_window: { count: 1 } }, '/limits/per_window/seconds'],
    [{ per_window: { count: 1, seconds: 0.5 } }, '/limits/per_window/seconds'],
    [{ concurrency: 0 }, '/limits/concurrency'],
    [{ concurrency: '5' }, '/limits/concurrency'],
    [{ min_interval_seconds: -1 }, '/limits/min_interval_seconds'],
    [{ per_second: 5 }, '/limits/per_second'],
    [{ per_window: { count: 1, seconds: 1, burst: 2 } }, '/limits/per_window/burst'],
  ])('an app with limits %j is refused by JSON pointer', async (limits, pointer) => {
    const body = { provider: 'demo', client_id: 'client', limits };
    const faults = refused(await call(createFakeGateway().app, 'PUT', '/v1/apps/a1', body));
    expect(faults).toMatchObject([{ pointer }]);
  });

  it('takes every limit an app may have', async () => {
    const limits = {
      per_window: { count: 1_000, seconds: 86_400 },
      concurrency: 1_000,
      min_interval_seconds: 0.5,
    };
    const body = { provider: 'demo', client_id: 'client', limits };
    expect((await call(createFakeGateway().app, 'PUT', '/v1/apps/a1', body)).status).toBe(200);
  });

  it('reports every fault at once', async () => {
    const faults = refused(await call(createFakeGateway().app, 'PUT', '/v1/connections/c1', {}));
    expect(faults.map(({ pointer }) => pointer)).toEqual(['/tenant_id', '/app_id']);
  });

  it.each([
    [{ force: 'true' }, '/force'],
    [{ rejected_token_version: '7' }, '/rejected_token_version'],
    [{ rejected_token_version: -1 }, '/rejected_token_version'],
    [{ min_ttl_seconds: 86_401 }, '/min_ttl_seconds'],
    [{ wait_seconds: 61 }, '/wait_seconds'],
    [{ rejected_version: 7 }, '/rejected_version'],
  ])('a refresh refuses %j', async (body, pointer) => {
    const { app, engine } = createFakeGateway();
    expect(refused(await call(app, 'POST', refreshPath, body))).toMatchObject([{ pointer }]);
    expect(engine.calls).toHaveLength(0);
  });

  it.each([
    ['malformed', '{"force": tru'],
    ['cut off', '{"force"'],
    ['not UTF-8', new Uint8Array([0x22, 0xff, 0x22])],
    ['nested beyond the limit', `{"metadata":${'{"a":'.repeat(40)}1${'}'.repeat(40)}}`],
  ])('%s JSON is refused', async (_what, body) => {
    const { app } = createFakeGateway();
    const headers = { 'Content-Type': 'application/json' };
    refused(await call(app, 'PUT', '/v1/connections/c1', undefined, { body, headers }));
  });

  it('survives JSON a hundred thousand levels deep', async () => {
    const { app } = createFakeGateway();
    const body = `{"tenant_id":"t","app_id":"a","metadata":{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}}`;
    const headers = { 'Content-Type': 'application/json' };
    refused(await call(app, 'PUT', '/v1/connections/c1', undefined, { body, headers }));
  });

  it('an empty body is none, whatever its Content-Type', async () => {
    const { app } = createFakeGateway();
    for (const type of ['application/json', 'text/plain']) {
      const headers = { 'Content-Type': type };
      const { status } = await call(app, 'POST', refreshPath, undefined, { body: '', headers });
      expect(status).toBe(200);
    }
  });

  it('takes JSON with a charset, refuses text', async () => {
    const { app } = createFakeGateway();
    const send = (type: string) =>
      call(app, 'POST', refreshPath, undefined, { body: '{}', headers: { 'Content-Type': type } });
    for (const type of [
      'application/json; charset=utf-8',
      'application/json;charset="UTF-8"',
      'Application/JSON ; Charset = utf8',
      'application/json; profile=x',
      'application/json;',
    ]) {
      expect([type, (await send(type)).status]).toEqual([type, 200]);
    }
    expect((await send('text/plain')).status).toBe(415);
  });

  it('cuts a body without a length at 1 MiB', async () => {
    const { app } = createFakeGateway();
    let sentBytes = 0;
    const chunk = new Uint8Array(65_536).fill(0x20);
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sentBytes += chunk.byteLength;
        controller.enqueue(chunk);
      },
    });
    const { status, json } = await call(app, 'PUT', '/v1/connections/c1', undefined, {
      body: endless,
      headers: { 'Content-Type': 'application/json' },
      duplex: 'half',
    });
    expect([status, json['code']]).toEqual([413, 'request_too_large']);
    expect(sentBytes).toBeLessThan(2_000_000);
  });
});

describe('secrets', () => {
  const canary = 'CANARY-9f8e7d';
  it.each<[string, string, unknown]>([
    ['a token with a fault beside it', '/v1/connections/c1', { access_token: canary, app_id: 5 }],
    ['a token that is too long', '/v1/connections/c1', { access_token: canary.repeat(6_000) }],
    ['a token with a newline', '/v1/connections/c1', { refresh_token: `${canary}\n` }],
    [
      'a token in the wrong place',
      '/v1/connections/c1',
      { tenant_id: `${canary} x`, app_id: canary },
    ],
    ['a token as a list', '/v1/connections/c1', { refresh_token: [canary] }],
    ['a token as a name', '/v1/connections/c1', { [canary]: 1 }],
    ['a token as a time', '/v1/connections/c1', { expires_at: canary, expires_in: canary }],
    [
      'a token among metadata',
      '/v1/connections/c1',
      { metadata: canary, scope: `${canary}\u0000` },
    ],
    ['a client secret among faults', '/v1/apps/a1', { client_secrets: [canary, 5, `${canary}\n`] }],
    ['a client secret as text', '/v1/apps/a1', { client_secrets: canary }],
  ])('%s is not repeated in the problem or the log', async (_what, path, body) => {
    const { app, lines } = createFakeGateway();
    const answer = await call(app, 'PUT', path, body);
    expect(answer.status).toBe(400);
    expect(answer.text + JSON.stringify([...answer.headers]) + lines.join('')).not.toContain(
      canary,
    );
  });

  it('broken JSON around a token is not repeated either', async () => {
    const { app, lines } = createFakeGateway();
    const answer = await call(app, 'PUT', '/v1/connections/c1', undefined, {
      body: `{"access_token": ${canary}`,
      headers: { 'Content-Type': 'application/json' },
    });
    expect(answer.status).toBe(400);
    expect(answer.text + lines.join('')).not.toContain(canary);
  });

  it('a token in a query is logged and answered nowhere', async () => {
    const { app, lines } = createFakeGateway();
    const answer = await call(app, 'GET', `${tokenPath}?wait_seconds=${canary}&${canary}=1`);
    expect(answer.status).toBe(400);
    expect(answer.text + lines.join('')).not.toContain(canary);
  });

  it('reach the store wrapped', async () => {
    const { app, puts } = createFakeGateway();
    const body = { tenant_id: 't1', app_id: 'a1', access_token: canary, refresh_token: canary };
    const answer = await call(app, 'PUT', '/v1/connections/c1', body);
    expect(answer.status).toBe(200);
    expect(answer.text).not.toContain(canary);
    expect(puts[0]?.input.refreshToken?.reveal()).toBe(canary);
    expect(JSON.stringify(puts)).not.toContain(canary);
  });
});
