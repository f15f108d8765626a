import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AppGates } from '../../connections/app-gate.ts';
import { createAppGates } from '../../connections/app-gates.ts';
import { Secret } from '../../platform/secret.ts';
import { gateRequest, host, misconfigured, send } from './gate-fixture.ts';
import { createStoreFixture, tenantId, type StoreFixture } from './store-fixture.ts';

let fixture: StoreFixture;
let gates: AppGates;
beforeAll(async () => {
  fixture = await createStoreFixture();
  gates = createAppGates({ store: fixture.pool, random: () => 0.5 });
});
afterAll(() => fixture.database.drop());

const free = { pausedReason: null, pausedUntil: null, closedUntil: null, closedReason: null };

describe('a connection as it is read', () => {
  it('tells that its app is paused, or the gate of its host closed', async () => {
    const appId = await fixture.addApp();
    const id = await fixture.addConnection({ appId });
    expect((await fixture.connections.readToken(id))?.connection.app).toEqual(free);

    await send(gates, gateRequest(appId), { kind: 'rate_limited', retryAfterMs: 30_000 });
    const limited = {
      ...free,
      closedUntil: expect.any(Date) as Date,
      closedReason: 'rate_limited',
    };
    expect((await fixture.connections.readToken(id))?.connection.app).toEqual(limited);
    expect((await fixture.connections.get(id, null))?.app).toEqual(limited);
    expect((await fixture.exchanges.load(id))?.connection.app).toEqual(limited);

    const pausedApp = await fixture.addApp();
    const ofPaused = await fixture.addConnection({ appId: pausedApp });
    await send(gates, gateRequest(pausedApp), misconfigured);
    const paused = { pausedReason: 'invalid_client', pausedUntil: expect.any(Date) as Date };
    expect((await fixture.connections.readToken(ofPaused))?.connection.app).toMatchObject(paused);
    expect((await fixture.exchanges.load(ofPaused))?.app).toMatchObject(paused);
    expect(await fixture.apps.get(pausedApp, null)).toMatchObject(paused);
    await fixture.pool.query(`update apps set paused_until = now() where id = $1`, [pausedApp]);
    expect(await fixture.apps.get(pausedApp, null)).toMatchObject({ pausedReason: null });
    await fixture.pool.query(`update apps set paused_until = null where id = $1`, [pausedApp]);
    expect(await fixture.apps.get(pausedApp, null)).toMatchObject({
      pausedReason: 'invalid_client',
      pausedUntil: null,
    });
  });

  it('tells nothing of the app’s gate at another host', async () => {
    const appId = await fixture.addApp();
    const id = await fixture.addConnection({ appId });
    const elsewhere = gateRequest(appId, { host: 'eu.example.com' });
    await send(gates, elsewhere, { kind: 'rate_limited', retryAfterMs: 30_000 });
    expect((await fixture.connections.readToken(id))?.connection.app).toEqual(free);
  });

  it('is read with the gate’s index alone', async () => {
    const { rows } = await fixture.pool.query<{ indexdef: string }>(
      `select indexdef from pg_indexes where indexname = 'app_gates_host'`,
    );
    expect(rows[0]?.indexdef).toContain('INCLUDE (closed_until, closed_reason)');
  });
});

describe('the token host of a connection', () => {
  const overrides = { refresh_url: 'https://${tenant}.example.com:8443/refresh' };

  it('is that of the URL that refreshes, its port included', async () => {
    expect(await fixture.row(await fixture.addConnection())).toMatchObject({ token_host: host });
    const appId = await fixture.addApp({
      ...overrides,
      variables: { tenant: { pattern: '^[a-z]+$' } },
    });
    const id = await fixture.addConnection({ appId, variables: { tenant: 'acme' } });
    expect(await fixture.row(id)).toMatchObject({ token_host: 'acme.example.com:8443' });
    const put = { tenantId, appId, variables: { tenant: 'other' } };
    await fixture.connections.put(id, put);
    expect(await fixture.row(id)).toMatchObject({ token_host: 'other.example.com:8443' });
    await fixture.connections.put(id, {
      ...put,
      variables: { tenant: 'third' },
      refreshToken: new Secret(randomUUID()),
    });
    expect(await fixture.row(id)).toMatchObject({ token_host: 'third.example.com:8443' });
  });
});
