import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { refreshWorkflowId } from '../../client/contract.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const outageMs = 10_000;

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let appId: string;

beforeAll(async () => {
  [stack, endpoint] = await Promise.all([startTestStack(), startScriptedTokenEndpoint()]);
  appId = await stack.addApp(endpoint.url);
  await stack.database.pool.query(
    `create function refuse_write() returns trigger language plpgsql as
     $$ begin raise exception 'writes are refused'; end $$`,
  );
});
afterEach(() => {
  endpoint.clearScript();
});
afterAll(async () => {
  await stack.close();
  await endpoint.close();
});

/** A caller whose refresh has reached the provider, which holds its answer until `release`. */
async function holdAnswer(members: Record<string, unknown> = {}): Promise<{
  id: string;
  refreshToken: string;
  caller: ReturnType<TestStack['getToken']>;
  release: () => void;
}> {
  const granted = endpoint.grant();
  const id = await stack.addConnection(appId, granted, members);
  let release = (): void => undefined;
  const hold = new Promise<void>((resolve) => {
    release = resolve;
  });
  endpoint.script({ hold });
  const arrived = endpoint.waitForRequests(endpoint.requests.length + 1);
  const caller = stack.refresh(id, { force: true, wait_seconds: 40 });
  await arrived;
  return { id, refreshToken: granted.refreshToken, caller, release };
}

async function refuseWrites(): Promise<() => Promise<void>> {
  await stack.database.pool.query(
    `create trigger refuse_write before update on connections for each row execute function refuse_write()`,
  );
  return async () => {
    await stack.database.pool.query('drop trigger refuse_write on connections');
  };
}

describe('answers and the store', () => {
  it('R44 new credentials win over a refresh in flight, whose answer is fenced', async () => {
    const { id, caller, release } = await holdAnswer();
    const again = endpoint.grant();
    const put = await stack.call('PUT', `/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: appId,
      access_token: 'at-of-the-new-consent',
      refresh_token: again.refreshToken,
      expires_in: 3600,
    });
    expect(put.body).toMatchObject({ status: 'active', token_version: 2 });
    release();
    expect((await caller).body).toMatchObject({
      access_token: 'at-of-the-new-consent',
      token_version: 2,
    });
    // The new refresh token is the stored one: the next exchange spends it.
    expect((await stack.refresh(id, { force: true })).body).toMatchObject({ token_version: 3 });
    expect(endpoint.sendsOf(again.refreshToken)).toBe(1);
  });

  it('stores the pair after the store refused writes for 10 s, without another exchange', async () => {
    const before = endpoint.truth();
    const { id, refreshToken, caller, release } = await holdAnswer();
    const allowWrites = await refuseWrites();
    release();
    await sleep(outageMs);
    await allowWrites();
    expect((await caller).body).toMatchObject({ token_version: 2, refreshed: true });
    expect(endpoint.sendsOf(refreshToken)).toBe(1);
    expect(endpoint.truth().exchanges - before.exchanges).toBe(1);
    // What was stored is the live pair.
    expect((await stack.refresh(id, { force: true })).body).toMatchObject({ token_version: 3 });
    expect(endpoint.truth()).toMatchObject({ reuse: 0, familyRevocations: 0 });
  }, 60_000);

  it('stores the pair when the run is terminated while the store refuses writes', async () => {
    const { id, refreshToken, caller, release } = await holdAnswer();
    const allowWrites = await refuseWrites();
    release();
    await sleep(2_000);
    await stack.terminateRun(id);
    await sleep(4_000);
    await allowWrites();
    expect((await caller).body).toMatchObject({ token_version: 2 });
    expect(endpoint.sendsOf(refreshToken)).toBe(1);
  }, 60_000);

  it('stores the answer of a call whose run is terminated', async () => {
    const { id, refreshToken, caller, release } = await holdAnswer();
    await stack.terminateRun(id);
    await sleep(500);
    release();
    expect((await caller).body).toMatchObject({ token_version: 2 });
    expect(endpoint.sendsOf(refreshToken)).toBe(1);
    expect((await stack.call('GET', `/v1/connections/${id}`)).body).toMatchObject({
      status: 'active',
      token_version: 2,
    });
  }, 60_000);

  it('stores the answer of a call whose run is reset', async () => {
    const { id, refreshToken, caller, release } = await holdAnswer();
    const run = await stack.describeRun(id);
    const handle = stack.temporal.workflow.getHandle(refreshWorkflowId(id));
    const firstTask = (await handle.fetchHistory()).events?.find(
      (event) => event.workflowTaskCompletedEventAttributes,
    );
    await stack.temporal.workflowService.resetWorkflowExecution({
      namespace: stack.temporal.options.namespace,
      workflowExecution: { workflowId: refreshWorkflowId(id), runId: run.runId },
      reason: 'test',
      requestId: run.runId,
      workflowTaskFinishEventId: firstTask?.eventId ?? null,
    });
    await sleep(500);
    release();
    expect((await caller).body).toMatchObject({ token_version: 2 });
    expect(endpoint.sendsOf(refreshToken)).toBe(1);
    await expect
      .poll(async () => (await stack.describeRun(id)).status, { timeout: 20_000 })
      .toBe('COMPLETED');
    expect(endpoint.sendsOf(refreshToken)).toBe(1);
  }, 60_000);
});
