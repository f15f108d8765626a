import { OpenAPIHono } from '@hono/zod-openapi';
import { describe, expect, it } from 'vitest';
import { scopes, type Scope } from '../../gateway/caller.ts';
import { createKeyCallers, createCertificateCallers } from '../../gateway/callers.ts';
import type { GatewayEnv } from '../../gateway/gateway-env.ts';
import { checkRouteAccess } from '../../gateway/route-access.ts';
import { createGatewayFor, identity, policyCaller, policyOf, withKey } from './caller-fixtures.ts';
import { call, createFakeGateway, refreshRow } from './gateway-fakes.ts';

const connection = { tenant_id: 't1', app_id: 'a1', refresh_token: 'r' };
const registration = { provider: 'demo', client_id: 'client' };

/** Every route, a request that succeeds, and what its caller needs for it. */
const routes: [method: string, path: string, needs: Scope | null, body?: object][] = [
  ['GET', '/ping', null],
  ['GET', '/ready', null],
  ['GET', '/build', null],
  ['GET', '/openapi.json', null],
  ['GET', '/docs', null],
  ['GET', '/docs/', null],
  ['GET', '/docs/:file', null],
  ['GET', '/problems/:code', null],
  ['GET', '/v1/connections/:id/token', 'tokens:read'],
  ['POST', '/v1/connections/:id/token/refresh', 'tokens:read'],
  ['GET', '/v1/connections', 'connections:read'],
  ['GET', '/v1/connections/:id', 'connections:read'],
  ['GET', '/v1/connections/:id/attempts', 'connections:read'],
  ['PUT', '/v1/connections/:id', 'connections:write', connection],
  ['DELETE', '/v1/connections/:id', 'connections:write'],
  ['POST', '/v1/connections/:id/pause', 'connections:write'],
  ['POST', '/v1/connections/:id/resume', 'connections:write'],
  ['GET', '/v1/apps', 'connections:read'],
  ['GET', '/v1/apps/:app_id', 'connections:read'],
  ['PUT', '/v1/apps/:app_id', 'apps:write', registration],
  ['POST', '/v1/apps/:app_id/resume', 'apps:write'],
  ['DELETE', '/v1/apps/:app_id', 'apps:write'],
  ['GET', '/v1/events', 'events:read'],
  ['GET', '/v1/providers', 'connections:read'],
  ['GET', '/v1/providers/:name', 'connections:read'],
];

const examples: Record<string, string> = {
  ':id': 'c1',
  ':app_id': 'a1',
  ':file': 'start.js',
  ':code': 'internal',
  ':name': 'demo',
};
const urlOf = (path: string) => path.replace(/:\w+/, (name) => examples[name] ?? name);
const others = (needed: Scope) => scopes.filter((scope) => scope !== needed);

describe('the routes', () => {
  it('are all in this table', () => {
    const { app } = createFakeGateway();
    const served = app.routes.filter(({ method }) => method !== 'ALL');
    const known = served.map(({ method, path }) => `${method} ${path}`);
    expect([...new Set(known)].sort()).toEqual(routes.map(([m, path]) => `${m} ${path}`).sort());
  });

  it('are documented with the scope that they need', async () => {
    const { json } = await call(createFakeGateway().app, 'GET', '/openapi.json');
    const paths = json['paths'] as Record<string, Record<string, { security?: object[] }>>;
    for (const [method, path, needs] of routes.filter(([, each]) => each !== '/docs/')) {
      const template = path.replace(/:(\w+)/, '{$1}');
      const documented = paths[template]?.[method.toLowerCase()]?.security;
      const wanted =
        needs === null ? [] : [{ bearerKey: expect.arrayContaining([needs]) as string[] }];
      expect(documented?.slice(0, 1), `${method} ${path}`).toEqual(wanted);
    }
  });

  it('stop the gateway where the access table does not know one', () => {
    const app = new OpenAPIHono<GatewayEnv>();
    app.get('/ping', (c) => c.text('ok'));
    expect(() => checkRouteAccess(app)).not.toThrow();
    app.get('/v1/secrets', (c) => c.text('all of them'));
    expect(() => checkRouteAccess(app)).toThrow('GET /v1/secrets is not in');
  });

  it.each(routes)('%s %s needs %s', async (method, path, needs, body) => {
    const ask = async (granted: Scope[], key: Record<string, string> = withKey.headers) => {
      const { app, engine, rows } = createGatewayFor({ scopes: granted });
      engine.respond = () => Promise.resolve(refreshRow(rows));
      const type = body === undefined ? {} : { 'Content-Type': 'application/json' };
      return call(app, method, urlOf(path), body, { headers: { ...type, ...key } });
    };
    if (needs === null) {
      const { app } = createGatewayFor({ scopes: [] });
      expect((await app.request(urlOf(path))).status).toBe(200);
      return;
    }
    expect((await ask([needs])).status).toBeLessThan(300);
    const forbidden = await ask(others(needs));
    expect(forbidden.json).toMatchObject({ status: 403, code: 'forbidden' });
    expect(forbidden.json['detail']).toContain(needs);
    for (const headers of [{}, { Authorization: 'Bearer nobody' }] as Record<string, string>[]) {
      const unknown = await ask([needs], headers);
      expect(unknown.json).toMatchObject({ status: 401, code: 'unauthenticated' });
      expect(unknown.headers.get('WWW-Authenticate')).toMatch(/^Bearer realm="token-manager"/);
    }
  });

  it.each([
    ['GET', '/v1/nothing', 'not_found'],
    ['GET', '/', 'not_found'],
    ['PATCH', '/v1/connections/c1', 'method_not_allowed'],
    ['OPTIONS', '/v1/apps', 'method_not_allowed'],
  ])('%s %s is told to known callers only', async (method, path, code) => {
    const { app } = createGatewayFor({ scopes: [] });
    expect((await call(app, method, path)).json).toMatchObject({ code: 'unauthenticated' });
    expect((await call(app, method, path, undefined, withKey)).json).toMatchObject({ code });
  });

  it('HEAD needs what GET does', async () => {
    const status = async (granted: Scope[]) =>
      (
        await call(
          createGatewayFor({ scopes: granted }).app,
          'HEAD',
          '/v1/apps/a1',
          undefined,
          withKey,
        )
      ).status;
    expect([await status(['connections:read']), await status(['tokens:read'])]).toEqual([200, 403]);
  });

  it('are refused before a body is read', async () => {
    const { app } = createGatewayFor({ scopes: [] });
    const huge = { body: 'x'.repeat(2_000_000), headers: { Authorization: 'Bearer nobody' } };
    const answer = await call(app, 'PUT', '/v1/connections/c1', undefined, huge);
    expect(answer.status).toBe(401);
  });
});

describe('tokens:refresh', () => {
  const path = '/v1/connections/c1/token';
  const ask = async (granted: Scope[], method: string, url: string, body?: object) => {
    const { app, engine, rows } = createGatewayFor({ scopes: granted });
    engine.respond = () => Promise.resolve(refreshRow(rows));
    const headers = { 'Content-Type': 'application/json', ...withKey.headers };
    return call(app, method, url, body, { headers });
  };

  it.each([
    ['force', 'POST', `${path}/refresh`, { force: true }],
    ['a rejected version', 'POST', `${path}/refresh`, { rejected_token_version: 7 }],
    ['the next version', 'GET', `${path}?min_token_version=8`, undefined],
  ])('is needed for %s', async (_what, method, url, body) => {
    const refused = await ask(['tokens:read'], method, url, body);
    expect(refused.json).toMatchObject({ status: 403, code: 'forbidden' });
    expect((await ask(['tokens:refresh'], method, url, body)).status).toBe(403);
    const both = await ask(['tokens:read', 'tokens:refresh'], method, url, body);
    expect(both.json).toMatchObject({ token_version: 8, refreshed: true });
  });

  it.each([
    ['a read', 'GET', path, undefined],
    ['the current version', 'GET', `${path}?min_token_version=7`, undefined],
    ['a least lifetime', 'GET', `${path}?min_ttl_seconds=60`, undefined],
    ['a refresh that is due', 'POST', `${path}/refresh`, { force: false, min_ttl_seconds: 60 }],
  ])('is not needed for %s', async (_what, method, url, body) => {
    expect((await ask(['tokens:read'], method, url, body)).status).toBe(200);
  });
});

describe('client certificates', () => {
  const policy = policyOf(policyCaller({ match: ['dns:b.example'] }));
  const { app } = createFakeGateway({ callers: createCertificateCallers(() => policy) });
  const ask = (subjects: string[], headers = {}) =>
    app.request('/v1/connections/c1/token', { headers }, { clientIdentity: identity(...subjects) });

  it('say who asks', async () => {
    expect((await ask(['dns:b.example'])).status).toBe(200);
    const stranger = await ask(['dns:stranger.example']);
    expect(stranger.status).toBe(401);
    expect(stranger.headers.get('WWW-Authenticate')).toContain('ClientCertificate');
  });

  it('leave no room for a key', async () => {
    const headers = { Authorization: 'Bearer billing-key' };
    expect((await ask(['dns:b.example'], headers)).status).toBe(401);
    const keys = createFakeGateway({ callers: createKeyCallers(() => policy) }).app;
    expect((await keys.request('/v1/connections/c1/token', { headers })).status).toBe(200);
  });
});
