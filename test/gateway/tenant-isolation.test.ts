import { describe, expect, it } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import type { TokenNotices } from '../../connections/token-notices.ts';
import { scopes } from '../../gateway/caller.ts';
import { createKeyCallers, keyHashOf } from '../../gateway/callers.ts';
import { createGatewayFor, policyCaller, policyOf, withKey } from './caller-fixtures.ts';
import { call, connectionRow, expired } from './gateway-fakes.ts';

const init = { headers: { ...withKey.headers, 'X-Request-Id': 'same' } };
const withBody = { headers: { ...init.headers, 'Content-Type': 'application/json' } };

/** A caller of tenant `mine` that may do everything that one tenant's caller may. */
function createTenantGateway(options: Parameters<typeof createGatewayFor>[1] = {}) {
  const granted = scopes.filter((scope) => scope !== 'apps:write');
  const row = connectionRow({ id: 'foreign', tenantId: 'theirs' });
  const gateway = createGatewayFor({ scopes: granted, tenants: ['mine'] }, { row, ...options });
  gateway.rows.set('own', connectionRow({ id: 'own', tenantId: 'mine' }));
  return gateway;
}

/** LISTEN is up and nothing changes. */
const notices: TokenNotices = { session: () => 1, subscribe: () => () => undefined };

const put = { tenant_id: 'theirs', app_id: 'a1', refresh_token: 'r' };
const requests: [method: string, path: string, body?: object][] = [
  ['GET', '/v1/connections/ID/token'],
  ['HEAD', '/v1/connections/ID/token'],
  ['GET', '/v1/connections/ID/token?min_ttl_seconds=86400&wait_seconds=0'],
  ['GET', '/v1/connections/ID/token?min_token_version=8'],
  ['GET', '/v1/connections/ID/token?min_token_version=99'],
  ['POST', '/v1/connections/ID/token/refresh'],
  ['POST', '/v1/connections/ID/token/refresh', { force: true }],
  ['POST', '/v1/connections/ID/token/refresh', { rejected_token_version: 99 }],
  ['GET', '/v1/connections/ID'],
  ['GET', '/v1/connections/ID/attempts'],
  ['GET', '/v1/connections/ID/attempts?cursor=NQ'],
  ['PUT', '/v1/connections/ID', put],
  ['POST', '/v1/connections/ID/pause'],
  ['POST', '/v1/connections/ID/resume'],
  ['DELETE', '/v1/connections/ID'],
];

describe('a connection of another tenant', () => {
  it.each(requests)('%s %s answers byte for byte as an unknown one', async (method, path, body) => {
    const answers = [];
    for (const id of ['foreign', 'unknown']) {
      // Ids of one length, so that nothing differs but what is asked about.
      const { app, rows, engine, puts } = createTenantGateway();
      const foreign = rows.get('foreign');
      if (foreign === undefined) throw new Error('there is no foreign connection');
      rows.set('foreign', { ...foreign, ...expired });
      const request = body === undefined ? init : withBody;
      const answer = await call(app, method, path.replace('ID', id), body, request);
      expect(answer.status).toBe(method === 'PUT' ? 403 : 404);
      expect([engine.calls, puts]).toEqual([[], []]);
      // A trace of its own has each request.
      answer.headers.delete('traceparent');
      const headers = JSON.stringify([...answer.headers]);
      answers.push({ headers, text: answer.text.replaceAll(id, 'ID') });
    }
    expect(answers[0]).toEqual(answers[1]);
  });

  it('costs one SELECT and opens nothing, as an unknown one, even when it is in memory', async () => {
    const { app, dependencies, state } = createTenantGateway({
      tokenCache: { seconds: 60, notices },
    });
    let opened = 0;
    const readToken = dependencies.connections.readToken.bind(dependencies.connections);
    dependencies.connections.readToken = async (id) => {
      const reading = await readToken(id);
      return reading && { ...reading, open: () => ((opened += 1), reading.open()) };
    };
    const readsOf = async (id: string) => {
      const before = state.reads;
      const { status } = await call(app, 'GET', `/v1/connections/${id}/token`, undefined, init);
      return [status, state.reads - before];
    };
    expect([await readsOf('foreign'), await readsOf('foreign')]).toEqual([
      [404, 1],
      [404, 1],
    ]);
    expect([await readsOf('unknown'), await readsOf('unknown')]).toEqual([
      [404, 1],
      [404, 1],
    ]);
    expect(opened).toBe(0);
    expect([await readsOf('own'), await readsOf('own')]).toEqual([
      [200, 1],
      [200, 0],
    ]);
    expect(opened).toBe(1);
  });

  it('that its own caller has just read is not served to others, fresh or stale', async () => {
    const entry = { scopes: ['tokens:read' as const], match: [] };
    const policy = policyOf(
      policyCaller({ ...entry, name: 'a', key_hashes: [keyHashOf('mine')], tenants: ['mine'] }),
      policyCaller({ ...entry, name: 'b', key_hashes: [keyHashOf('theirs')], tenants: ['theirs'] }),
    );
    const { app, state } = createTenantGateway({
      tokenCache: { seconds: 60, notices },
      callers: createKeyCallers(() => policy),
    });
    const ask = async (key: string, id: string) => {
      const headers = { Authorization: `Bearer ${key}` };
      return (await app.request(`/v1/connections/${id}/token`, { headers })).status;
    };
    expect(await ask('theirs', 'foreign')).toBe(200);
    const reads = state.reads;
    // Both from memory if at all: the own one is, the foreign one costs the SELECT of an unknown one.
    expect([await ask('theirs', 'foreign'), state.reads]).toEqual([200, reads]);
    expect([await ask('mine', 'foreign'), state.reads]).toEqual([404, reads + 1]);
    state.readsFail = new TokenManagerError('store_unavailable');
    expect(await ask('theirs', 'foreign')).toBe(200);
    expect([await ask('mine', 'foreign'), await ask('mine', 'unknown')]).toEqual([503, 503]);
  });

  it('is in no list, whatever the filter says', async () => {
    const { app } = createTenantGateway();
    const { json } = await call(app, 'GET', '/v1/connections', undefined, init);
    expect(json).toMatchObject({ items: [{ id: 'own' }], next_cursor: null });
  });

  it('tells nobody that its entry was dropped by a PUT that took nothing', async () => {
    const gateway = createTenantGateway({ tokenCache: { seconds: 60, notices } });
    const { app, state } = gateway;
    gateway.rows.set('own', connectionRow({ id: 'own', tenantId: 'mine' }));
    await call(app, 'GET', '/v1/connections/own/token', undefined, init);
    state.put = () => Promise.reject(new TokenManagerError('connection_id_taken'));
    const body = { ...put, tenant_id: 'mine' };
    const taken = await call(app, 'PUT', '/v1/connections/own', body, withBody);
    expect(taken.json).toMatchObject({ code: 'connection_id_taken' });
    const before = state.reads;
    await call(app, 'GET', '/v1/connections/own/token', undefined, init);
    expect(state.reads).toBe(before);
  });
});

it('an app for other tenants is not there, and nobody else’s tenants are told', async () => {
  const seen: unknown[] = [];
  const { app, dependencies } = createTenantGateway();
  const get = dependencies.apps.get.bind(dependencies.apps);
  dependencies.apps.get = async (id, visibleTo) => {
    seen.push(visibleTo);
    const found = await get(id, visibleTo);
    return found && { ...found, tenantIds: ['mine', 'theirs'] };
  };
  const { json } = await call(app, 'GET', '/v1/apps/a1', undefined, init);
  expect(json['tenant_ids']).toEqual(['mine']);
  expect(seen).toEqual([new Set(['mine'])]);
});
