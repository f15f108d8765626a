import { describe, expect, it } from 'vitest';
import type { Connection } from '../../connections/connection.ts';
import { TokenManagerError } from '../../client/contract.ts';
import {
  call,
  connectionRow,
  createFakeGateway,
  expired,
  secondsFromStart,
  startsAt,
} from './gateway-fakes.ts';

describe('GET /v1/connections/{id}', () => {
  it('answers the contract’s members and no secret', async () => {
    const failure = { class: 'transient', code: 'http_503', at: startsAt, count: 2 } as const;
    const row = connectionRow({ failure, nextAttemptAt: secondsFromStart(30) });
    const { status, json } = await call(
      createFakeGateway({ row }).app,
      'GET',
      '/v1/connections/c1',
    );
    expect(status).toBe(200);
    expect(json).toEqual({
      id: 'c1',
      tenant_id: 't1',
      app_id: 'a1',
      provider: 'demo',
      status: 'active',
      reason: 'provider_unavailable',
      token_version: 7,
      expires_at: '2026-11-23T12:30:00.000Z',
      refresh_due_at: '2026-11-23T12:25:00.000Z',
      last_refreshed_at: '2026-11-23T11:30:00.000Z',
      next_attempt_at: '2026-11-23T12:00:30.000Z',
      last_failure: { class: 'transient', code: 'http_503', at: '2026-11-23T12:00:00.000Z' },
      workflow_id: 'refresh/c1',
      scope: 'a b',
      has_dpop_key: false,
      variables: {},
      metadata: { instance_url: 'https://acme.example.com' },
      created_at: '2026-11-22T12:00:00.000Z',
      updated_at: '2026-11-23T11:30:00.000Z',
    });
  });

  it.each<[Partial<Connection>, string, string | null]>([
    [{}, 'active', null],
    [{ verdict: 'revoked' }, 'reauthorization_required', 'revoked'],
    [{ ...expired, hasRefreshToken: false }, 'reauthorization_required', 'no_refresh_token'],
    [{ pausedAt: startsAt, verdict: 'revoked' }, 'paused', null],
    [{ uncertainSince: startsAt }, 'uncertain', null],
    [{ deletedAt: startsAt }, 'revoking', null],
  ])('tells status and reason of %j', async (changes, status, reason) => {
    const { app } = createFakeGateway({ row: connectionRow(changes) });
    const { json } = await call(app, 'GET', '/v1/connections/c1');
    expect(json).toMatchObject({ status, reason });
  });
});

describe('GET /v1/connections/{id}/attempts', () => {
  it('answers the contract’s members, newest first, and says nothing of connections there are not', async () => {
    const { app, attempts } = createFakeGateway();
    const ended = { at: startsAt, durationMs: 12, trigger: 'force', runId: 'run-1' } as const;
    attempts.push(
      { ...ended, id: '2', outcome: 'refreshed', class: null, code: null },
      { ...ended, id: '1', outcome: 'waiting', class: 'transient', code: 'http_503' },
    );
    const { status, json } = await call(app, 'GET', '/v1/connections/c1/attempts');
    const wire = { at: startsAt.toISOString(), duration_ms: 12, trigger: 'force', run_id: 'run-1' };
    expect(status).toBe(200);
    expect(json).toEqual({
      items: [
        { ...wire, outcome: 'refreshed', class: null, code: null },
        { ...wire, outcome: 'waiting', class: 'transient', code: 'http_503' },
      ],
      next_cursor: null,
    });
    expect((await call(app, 'GET', '/v1/connections/nobody/attempts')).json).toMatchObject({
      status: 404,
      code: 'connection_not_found',
      connection_id: 'nobody',
    });
  });

  it.each(['limit=0', 'limit=501', 'limit=x', 'offset=1'])('refuses ?%s', async (query) => {
    const { app } = createFakeGateway();
    const { json } = await call(app, 'GET', `/v1/connections/c1/attempts?${query}`);
    expect(json).toMatchObject({ status: 400, code: 'input_validation' });
  });
});

describe('PUT /v1/connections/{id}', () => {
  const body = { tenant_id: 't1', app_id: 'a1', refresh_token: 'r' };

  it('answers 201 with the GET body, then 200', async () => {
    const { app } = createFakeGateway();
    const first = await call(app, 'PUT', '/v1/connections/new', body);
    const again = await call(app, 'PUT', '/v1/connections/new', body);
    const read = await call(app, 'GET', '/v1/connections/new');
    expect([first.status, again.status]).toEqual([201, 200]);
    expect(first.json).toEqual(read.json);
    expect(again.json).toEqual(read.json);
  });

  it('says when newer credentials were kept', async () => {
    const { app, state } = createFakeGateway();
    state.put = () =>
      Promise.resolve({ connection: connectionRow(), created: false, credentials: 'kept_newer' });
    const { status, json } = await call(app, 'PUT', '/v1/connections/c1', body);
    expect([status, json['credentials']]).toEqual([200, 'kept_newer']);
  });

  it('hands the store only what was given', async () => {
    const { app, puts } = createFakeGateway();
    await call(app, 'PUT', '/v1/connections/c1', { tenant_id: 't1', app_id: 'a1' });
    expect(puts[0]?.input).toEqual({ tenantId: 't1', appId: 'a1' });
    await call(app, 'PUT', '/v1/connections/c1', {
      ...body,
      expires_at: '2026-11-23T14:00:00+02:00',
      scope: 'a',
      variables: { tenant: 'acme' },
      metadata: { instance_url: 'https://x.example' },
    });
    expect(puts[1]?.input).toMatchObject({
      expiresAt: startsAt,
      scope: 'a',
      variables: { tenant: 'acme' },
      metadata: { instance_url: 'https://x.example' },
    });
    await call(app, 'PUT', '/v1/connections/c1', { ...body, expires_in: 3_600 });
    expect(puts[2]?.input.expiresInSeconds).toBe(3_600);
  });

  it.each([
    'app_not_found',
    'connection_id_taken',
    'credential_in_use',
    'connection_revoking',
  ] as const)('passes on %s', async (code) => {
    const { app, state } = createFakeGateway();
    state.put = () => Promise.reject(new TokenManagerError(code));
    const { json } = await call(app, 'PUT', '/v1/connections/c1', body);
    expect(json).toMatchObject({ code, connection_id: 'c1' });
  });
});

describe('lists', () => {
  it('answer items and a cursor, 50 at a time unless asked', async () => {
    const filters: unknown[] = [];
    const list = (filter: unknown) => {
      filters.push(filter);
      return Promise.resolve({ items: [connectionRow()], nextCursor: 'abc' });
    };
    const unused = () => Promise.reject(new Error('not asked for'));
    const { app } = createFakeGateway({
      connections: {
        list,
        get: unused,
        put: unused,
        readToken: unused,
        attempts: unused,
        pause: unused,
        resume: unused,
        disconnect: unused,
      },
    });
    const { json } = await call(app, 'GET', '/v1/connections');
    expect(json).toMatchObject({ items: [{ id: 'c1', status: 'active' }], next_cursor: 'abc' });
    const query = 'limit=500&cursor=abc&tenant_id=t1&app_id=a1&status=uncertain';
    await call(app, 'GET', `/v1/connections?${query}`);
    expect(filters).toEqual([
      { limit: 50, visibleTo: null },
      {
        limit: 500,
        visibleTo: null,
        cursor: 'abc',
        tenantId: 't1',
        appId: 'a1',
        status: 'uncertain',
      },
    ]);
  });
});

describe('apps', () => {
  const body = { provider: 'demo', client_id: 'client', client_secrets: ['new', 'old'] };

  it('are registered, read, listed and deleted; their secrets only counted', async () => {
    const { app } = createFakeGateway();
    const created = await call(app, 'PUT', '/v1/apps/a2', body);
    expect([created.status, created.json['client_secret_count']]).toEqual([201, 2]);
    expect((await call(app, 'PUT', '/v1/apps/a1', body)).status).toBe(200);
    const read = await call(app, 'GET', '/v1/apps/a1');
    expect(read.json).toEqual({
      id: 'a1',
      provider: 'demo',
      client_id: 'client',
      client_secret_count: 1,
      has_private_key: false,
      client_certificate_expires_at: null,
      overrides: {},
      limits: {},
      tenant_ids: null,
      paused_until: null,
      paused_reason: null,
      created_at: '2026-11-23T12:00:00.000Z',
      updated_at: '2026-11-23T12:00:00.000Z',
    });
    const resumed = await call(app, 'POST', '/v1/apps/a1/resume');
    expect([resumed.status, resumed.json['id']]).toEqual([200, 'a1']);
    const unknown = await call(app, 'POST', '/v1/apps/a2/resume');
    expect([unknown.status, unknown.json['code']]).toEqual([404, 'app_not_found']);
    const list = await call(app, 'GET', '/v1/apps');
    expect(list.json).toMatchObject({ items: [{ id: 'a1' }], next_cursor: 'next' });
    const deleted = await call(app, 'DELETE', '/v1/apps/a1');
    expect([deleted.status, deleted.text]).toEqual([204, '']);
  });
});

describe('ping, ready and build', () => {
  it('answer what the contract says', async () => {
    const { app } = createFakeGateway();
    expect((await call(app, 'GET', '/ping')).json).toEqual({ status: 'ok' });
    expect((await call(app, 'GET', '/ready')).json).toEqual({
      status: 'ready',
      checks: { postgres: 'ok', temporal: 'ok' },
    });
    expect((await call(app, 'GET', '/build')).json).toEqual({
      name: 'token-manager',
      version: '0.1.0',
      commit: 'abc',
      built_at: null,
      node: 'v20',
      temporal_sdk: '1',
    });
  });

  it.each([
    ['degraded', 200, null],
    ['not_ready', 503, '1'],
  ] as const)('ready answers %s with %i', async (status, expected, retryAfter) => {
    const { app } = createFakeGateway({ readiness: () => ({ status, checks: {} }) });
    const answer = await call(app, 'GET', '/ready');
    expect([answer.status, answer.headers.get('Retry-After')]).toEqual([expected, retryAfter]);
    expect(answer.json['status']).toBe(status);
  });
});
