import { afterAll, beforeAll, describe, it, vi } from 'vitest';
import { sweepWorkflowType } from '../../client/contract.ts';
import type { Fault } from '../support/fault-proxy.ts';
import { startRotationServer, type RotationServer } from '../support/rotation-server.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';
import { connectRevocable, type RevocableConnection } from './revocable-connection.ts';

const hourSeconds = 3_600;

// These mostly wait. A busy machine may take its time.
vi.setConfig({ maxConcurrency: 6, testTimeout: 90_000 });

let stack: TestStack;
let server: RotationServer;

beforeAll(async () => {
  [stack, server] = await Promise.all([startTestStack(), startRotationServer()]);
});
afterAll(async () => {
  await stack.close();
  await server.close();
});

const connect = (
  clientId: string,
  options: { expiresIn?: number; revokes?: boolean } = {},
): Promise<RevocableConnection> => connectRevocable({ stack, server }, clientId, options);

describe.concurrent('a disconnect', () => {
  it('R46 is pending while the provider says 503, then done; its token is unreadable at once', async ({
    expect,
  }) => {
    const connection = await connect('F', { expiresIn: hourSeconds });
    const { id, refreshToken } = connection;
    expect((await stack.getToken(id)).status).toBe(200);
    connection.refuseRevocation(2);
    const deleted = await connection.remove();
    expect([deleted.status, deleted.body['status']]).toEqual([202, 'revoking']);
    expect((await stack.getToken(id)).body).toMatchObject({ code: 'connection_not_found' });
    const shown = await stack.call('GET', `/v1/connections/${id}`);
    expect(shown.body).toMatchObject({ status: 'revoking' });
    const again = await stack.call('PUT', `/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: connection.appId,
      refresh_token: 'new',
    });
    expect(again.body).toMatchObject({ code: 'connection_revoking', retryable: true });
    expect(again.headers.get('retry-after')).toBeTruthy();
    const inUse = await stack.call('DELETE', `/v1/apps/${connection.appId}`);
    expect(inUse.body).toMatchObject({ code: 'app_in_use' });

    await connection.untilDone();
    expect(server.isLive(refreshToken)).toBe(false);
    expect(connection.revocations()).toBe(3);
    expect((await stack.call('GET', `/v1/connections/${id}`)).status).toBe(404);
    const { rows } = await stack.database.pool.query(
      'select * from revocations where connection_id = $1',
      [id],
    );
    expect(rows).toMatchObject([{ state: 'done', sealed_token: null, attempts: 2 }]);
  });

  it('leaves a tombstone that goes on counting, and sets its app free', async ({ expect }) => {
    const connection = await connect('S', { expiresIn: hourSeconds });
    const { id } = connection;
    const before = await connection.row();
    await connection.untilDone();
    expect(await connection.row()).toMatchObject({ app_id: null, sealed_refresh_token: null });
    expect((await stack.call('DELETE', `/v1/apps/${connection.appId}`)).status).toBe(204);
    const other = await connect('S');
    const revived = await stack.call('PUT', `/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: other.appId,
      access_token: 'at-revived',
      refresh_token: 'rt-revived',
      expires_in: hourSeconds,
    });
    expect(revived.status).toBe(201);
    expect(revived.body).toMatchObject({
      status: 'active',
      token_version: Number(before?.['token_version']) + 1,
    });
    expect((await stack.getToken(id)).body).toMatchObject({ access_token: 'at-revived' });
    const foreign = await connection.row();
    expect(Number(foreign?.['generation'])).toBe(Number(before?.['generation']) + 2);
  });

  it('is done at once where the provider has no revocation endpoint', async ({ expect }) => {
    const connection = await connect('F', { revokes: false });
    expect((await connection.remove()).status).toBe(204);
    expect((await connection.remove()).status).toBe(204);
    expect(connection.revocations()).toBe(0);
    expect((await stack.call('DELETE', '/v1/connections/nobody')).status).toBe(404);
  });

  it('whose start was lost is found by the sweep', async ({ expect }) => {
    const connection = await connect('F');
    const { connections } = stack.allInOne.services;
    // As when the process ends between its statement and Temporal.
    expect(await connections.disconnect(connection.id, null)).toBe('revoking');
    const { rowCount } = await stack.database.pool.query(
      `update revocations set next_attempt_at = now() - interval '3 minutes' where connection_id = $1`,
      [connection.id],
    );
    expect(rowCount).toBe(1);
    const summary = await sweep();
    expect(summary.restarted).toBeGreaterThanOrEqual(1);
    await expect.poll(() => connection.live()).toBe(0);
    await connection.untilDone();
  });

  it('is given up after 7 days, with one event', async ({ expect }) => {
    const connection = await connect('F');
    connection.refuseRevocation('always');
    const { connections } = stack.allInOne.services;
    await connections.disconnect(connection.id, null);
    await stack.database.pool.query(
      `update revocations set created_at = now() - interval '8 days' where connection_id = $1`,
      [connection.id],
    );
    await connection.untilDone();
    expect(await connection.events()).toEqual(['connection.revocation_failed']);
    expect(connection.live()).toBe(1);
  });
});

/** One turn of the sweep, as its Schedule starts it. */
function sweep(): Promise<{ restarted: number }> {
  return stack.temporal.workflow.execute(sweepWorkflowType, {
    workflowId: `sweep-${crypto.randomUUID()}`,
    taskQueue: stack.allInOne.services.config.temporal.taskQueues.sweep,
  });
}

describe.concurrent('a paused connection', () => {
  const pause = (id: string) => stack.call('POST', `/v1/connections/${id}/pause`);
  const resume = (id: string) => stack.call('POST', `/v1/connections/${id}/resume`);

  it('keeps what a call in flight brings, and sends nothing until its resume', async ({
    expect,
  }) => {
    const connection = await connect('F');
    const { id } = connection;
    let release = (): void => undefined;
    connection.inject({
      kind: 'hold',
      when: 'after',
      until: new Promise<void>((go) => (release = go)),
    });
    const caller = stack.getToken(id, '?wait_seconds=20');
    await expect.poll(() => connection.truth()?.exchanges, { timeout: 10_000 }).toBe(1);
    expect((await pause(id)).body).toMatchObject({ status: 'paused' });
    release();
    // It was stored, and is served as long as it is valid.
    expect((await caller).body).toMatchObject({ token_version: 2, connection_status: 'paused' });
    await stack.expire(id);
    expect((await stack.getToken(id)).body).toMatchObject({ code: 'connection_paused' });
    expect((await stack.refresh(id, { force: true })).body).toMatchObject({
      code: 'connection_paused',
    });
    expect(connection.truth()?.exchanges).toBe(1);
    expect((await resume(id)).body).toMatchObject({ status: 'active' });
    expect((await stack.getToken(id)).body).toMatchObject({ token_version: 3 });
  });

  it('with a verdict is tried once, and recovers if its grant lives', async ({ expect }) => {
    const connection = await connect('F');
    const { id } = connection;
    connection.inject({
      kind: 'answer',
      when: 'before',
      status: 400,
      body: { error: 'invalid_grant' },
    });
    const first = await stack.getToken(id);
    expect(first.body).toMatchObject({ code: 'reauthorization_required' });
    // R22: a permanent answer is told once, and nothing is sent any more.
    expect(await connection.events()).toEqual(['connection.reauthorization_required']);
    expect((await stack.getToken(id)).body).toMatchObject({ code: 'reauthorization_required' });
    expect(connection.sends()).toBe(1);
    await resume(id);
    await expect
      .poll(async () => (await stack.getToken(id)).body['token_version'], { timeout: 10_000 })
      .toBe(2);
    expect(connection.sends()).toBe(2);
    expect(await connection.events()).toEqual([
      'connection.reauthorization_required',
      'connection.recovered',
    ]);
  });

  it('with a verdict that is right is sent for once, and told of no more', async ({ expect }) => {
    const connection = await connect('F');
    const { id } = connection;
    const refused: Fault = {
      kind: 'answer',
      when: 'before',
      status: 400,
      body: { error: 'invalid_grant' },
    };
    for (let times = 0; times < 2; times += 1) connection.inject(refused);
    await stack.getToken(id);
    await resume(id);
    await expect.poll(() => connection.sends(), { timeout: 10_000 }).toBe(2);
    await expect.poll(async () => (await connection.row())?.['probe_requested_at']).toBeNull();
    await stack.getToken(id);
    expect(connection.sends()).toBe(2);
    expect(await connection.row()).toMatchObject({ verdict: 'revoked', refresh_due_at: null });
    expect(await connection.events()).toEqual(['connection.reauthorization_required']);
  });
});
