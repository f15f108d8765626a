import { describe, expect, it } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import { call, connectionRow, createFakeGateway, expired, startsAt } from './gateway-fakes.ts';

const notFound = { status: 404, code: 'connection_not_found' };

describe('POST /v1/connections/{id}/pause and /resume', () => {
  it('answer the connection, and may be repeated', async () => {
    const { app, engine } = createFakeGateway();
    for (let round = 0; round < 2; round += 1) {
      const paused = await call(app, 'POST', '/v1/connections/c1/pause');
      expect([paused.status, paused.json['status']]).toEqual([200, 'paused']);
    }
    for (let round = 0; round < 2; round += 1) {
      const resumed = await call(app, 'POST', '/v1/connections/c1/resume');
      expect([resumed.status, resumed.json['status']]).toEqual([200, 'active']);
    }
    expect(engine.calls).toEqual([]);
  });

  it('find nothing where there is no connection', async () => {
    const { app } = createFakeGateway();
    for (const route of ['pause', 'resume']) {
      const { json } = await call(app, 'POST', `/v1/connections/nobody/${route}`);
      expect(json).toMatchObject(notFound);
    }
  });

  it('start one refresh of a connection whose customer is said to be needed', async () => {
    const row = connectionRow({ ...expired, verdict: 'revoked', pausedAt: startsAt });
    const { app, engine } = createFakeGateway({ row });
    const { json } = await call(app, 'POST', '/v1/connections/c1/resume');
    // The verdict stands until the provider says otherwise.
    expect(json).toMatchObject({ status: 'reauthorization_required', reason: 'revoked' });
    expect(engine.calls).toMatchObject([
      { connectionId: 'c1', tenantId: 't1', provider: 'demo', newerThan: 7, trigger: 'probe' },
    ]);
  });
});

describe('DELETE /v1/connections/{id}', () => {
  it('is 202 while the provider is being told, 204 when it was, and 404 for nobody', async () => {
    const { app, state, revocations } = createFakeGateway();
    for (let round = 0; round < 2; round += 1) {
      const pending = await call(app, 'DELETE', '/v1/connections/c1');
      expect([pending.status, pending.json['status']]).toEqual([202, 'revoking']);
    }
    expect(revocations).toEqual(['c1', 'c1']);
    expect((await call(app, 'GET', '/v1/connections/c1/token')).json).toMatchObject(notFound);
    state.disconnect = 'done';
    const done = await call(app, 'DELETE', '/v1/connections/c1');
    expect([done.status, done.text]).toEqual([204, '']);
    expect((await call(app, 'DELETE', '/v1/connections/nobody')).json).toMatchObject(notFound);
    expect(revocations).toHaveLength(2);
  });

  it('does not wait for Temporal, and does not fail for want of it', async () => {
    const away = () => Promise.reject(new TokenManagerError('refresh_engine_unavailable'));
    const { app, lines } = createFakeGateway({ revocationEngine: { start: away } });
    expect((await call(app, 'DELETE', '/v1/connections/c1')).status).toBe(202);
    await expect.poll(() => lines.join('')).toContain('a revocation starts later');
  });

  it('takes the token out of memory at once', async () => {
    const notices = { session: () => 1, subscribe: () => () => undefined };
    const { app } = createFakeGateway({ tokenCache: { seconds: 300, notices } });
    expect((await call(app, 'GET', '/v1/connections/c1/token')).status).toBe(200);
    await call(app, 'DELETE', '/v1/connections/c1');
    expect((await call(app, 'GET', '/v1/connections/c1/token')).status).toBe(404);
  });
});
