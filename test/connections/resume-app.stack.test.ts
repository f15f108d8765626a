import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AppGates } from '../../connections/app-gate.ts';
import { createAppGates } from '../../connections/app-gates.ts';
import type { AppInput } from '../../connections/app.ts';
import { Secret } from '../../platform/secret.ts';
import { appRow, enterOpen, gateRequest, misconfigured, send } from './gate-fixture.ts';
import { createStoreFixture, type StoreFixture } from './store-fixture.ts';

let fixture: StoreFixture;
let gates: AppGates;
beforeAll(async () => {
  fixture = await createStoreFixture();
  gates = createAppGates({ store: fixture.pool, random: () => 0.5 });
});
afterAll(() => fixture.database.drop());

const tokenUrl = { token_url: 'https://as.example.com/token' };

async function addPausedApp(): Promise<string> {
  const appId = await fixture.addApp();
  const elsewhere = gateRequest(appId, { host: 'eu.example.com' });
  await send(gates, elsewhere, { kind: 'rate_limited', retryAfterMs: 60_000 });
  await send(gates, gateRequest(appId), misconfigured);
  return appId;
}

/** Copies of one connection that wait for their app for an hour. */
async function addWaiting(appId: string, count: number, failureClass = 'misconfigured') {
  const id = await fixture.addConnection({ appId });
  await fixture.set(
    id,
    `failure_class = '${failureClass}', failure_code = 'invalid_client', failure_at = now(),
     failure_count = 3, next_attempt_at = now() + interval '1 hour', refresh_due_at = now() + interval '1 hour'`,
  );
  await fixture.pool.query(
    `insert into connections (id, tenant_id, app_id, generation, token_version, credential, rotation_class,
       failure_class, failure_code, failure_at, failure_count, next_attempt_at, refresh_due_at)
     select id || '-' || n, tenant_id, app_id, generation, token_version, credential, rotation_class,
       failure_class, failure_code, failure_at, failure_count, next_attempt_at, refresh_due_at
     from connections, generate_series(2, $2) n where id = $1`,
    [id, count],
  );
  return id;
}

async function waits(appId: string) {
  const { rows } = await fixture.pool.query<{ failure_class: string | null; wait_s: number }>(
    `select failure_class, extract(epoch from next_attempt_at - now())::double precision as wait_s
     from connections where app_id = $1 and next_attempt_at = refresh_due_at order by wait_s`,
    [appId],
  );
  return rows;
}

describe('resuming an app', () => {
  it('ends its pause and forgets its gates: one send proves it anew', async () => {
    const appId = await addPausedApp();
    expect(await fixture.apps.resume(appId)).toMatchObject({ id: appId, pausedReason: null });
    expect(await appRow(fixture, appId)).toEqual({ paused_reason: null, rest_s: null });
    const entry = await enterOpen(gates, gateRequest(appId));
    expect(await gates.enter(gateRequest(appId))).toMatchObject({ reason: 'busy' });
    await gates.leave(entry, { kind: 'succeeded' });
    expect((await gates.enter(gateRequest(appId))).kind).toBe('open');
    expect((await gates.enter(gateRequest(appId, { host: 'eu.example.com' }))).kind).toBe('open');
  });

  it('lets 2,500 waiting connections go, spread over 50 s, and no other', async () => {
    const appId = await addPausedApp();
    await addWaiting(appId, 2_500);
    const other = await addWaiting(appId, 1, 'rate_limited');
    await fixture.apps.resume(appId);
    const all = await waits(appId);
    const released = all.filter(({ failure_class: failureClass }) => failureClass === null);
    expect(released).toHaveLength(2_500);
    expect(await fixture.row(other)).toMatchObject({ failure_class: 'rate_limited' });
    const middle = released.map(({ wait_s: seconds }) => seconds);
    expect(Math.max(...middle)).toBeLessThanOrEqual(50);
    // Each tenth of the time gets about a tenth of them.
    const first = middle[0] ?? 0;
    const tenth = ((middle.at(-1) ?? 0) - first) / 10;
    expect(tenth).toBeGreaterThan(4);
    for (let n = 0; n < 10; n += 1) {
      const from = first + n * tenth;
      const here = middle.filter((seconds) => seconds >= from && seconds < from + tenth);
      expect(here.length).toBeGreaterThan(150);
      expect(here.length).toBeLessThan(350);
    }
  });

  it('lets a few go within a second, and is idempotent', async () => {
    const appId = await addPausedApp();
    const id = await addWaiting(appId, 3);
    await fixture.apps.resume(appId);
    const before = await waits(appId);
    expect(before.at(-1)?.wait_s).toBeLessThanOrEqual(1);
    const { next_attempt_at: next } = await fixture.row(id);
    await fixture.apps.resume(appId);
    expect((await fixture.row(id))['next_attempt_at']).toEqual(next);
  });

  it('is refused for an app that is not there', async () => {
    await expect(fixture.apps.resume('nobody')).rejects.toMatchObject({ code: 'app_not_found' });
  });
});

describe('a PUT of a paused app', () => {
  const same: AppInput = { provider: 'generic', clientId: 'client' };
  it.each<[string, AppInput, boolean]>([
    ['new secrets', { ...same, clientSecrets: [new Secret('cs-2')] }, true],
    ['another client id', { ...same, clientId: 'other' }, true],
    ['other overrides', { ...same, overrides: { ...tokenUrl, client_auth: 'basic' } }, true],
    ['the same overrides', { ...same, overrides: tokenUrl }, false],
    ['a new limit', { ...same, limits: { concurrency: 1 } }, false],
  ])('with %s may end the pause', async (_name, input, isOver) => {
    const appId = await addPausedApp();
    const id = await addWaiting(appId, 1);
    const { app } = await fixture.apps.put(appId, input);
    expect(app.pausedReason).toBe(isOver ? null : 'invalid_client');
    expect((await gates.enter(gateRequest(appId))).kind).toBe(isOver ? 'open' : 'app_paused');
    expect((await fixture.row(id))['failure_class']).toBe(isOver ? null : 'misconfigured');
  });
});
