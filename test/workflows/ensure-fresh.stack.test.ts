import { randomUUID } from 'node:crypto';
import {
  WorkflowFailedError,
  WorkflowNotFoundError,
  type WorkflowHandle,
} from '@temporalio/client';
import {
  ApplicationFailure,
  CancelledFailure,
  ChildWorkflowFailure,
  TimeoutFailure,
} from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { refreshWorkflowId, type RefreshResult } from '../../client/contract.ts';
import type { EnsureFreshOptions } from '../../client/workflow.ts';
import { startParentWorker, type ParentWorker } from '../support/parent-worker.ts';
import type { ensuresFresh, givesOneUp, ownsRefresh } from '../support/parent-workflows.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let parents: ParentWorker;
let appId: string;
let taskQueue: string;
let refreshQueue: string;

beforeAll(async () => {
  [stack, endpoint, parents] = await Promise.all([
    startTestStack(),
    startScriptedTokenEndpoint(),
    startParentWorker(),
  ]);
  appId = await stack.addApp(endpoint.url);
  ({ wait: taskQueue, refresh: refreshQueue } = stack.allInOne.services.config.temporal.taskQueues);
});
afterAll(async () => {
  await parents.close();
  await stack.close();
  await endpoint.close();
});

const expired = () => stack.addConnection(appId, endpoint.grant());
const fresh = () => stack.addConnection(appId, endpoint.grant(), { expires_in: 3_600 });

function start(
  connectionId: string,
  options: EnsureFreshOptions = {},
): Promise<WorkflowHandle<typeof ensuresFresh>> {
  return parents.client.workflow.start<typeof ensuresFresh>('ensuresFresh', {
    workflowId: `parent-${randomUUID()}`,
    taskQueue: parents.taskQueue,
    args: [{ connectionId, options: { taskQueue, ...options } }],
  });
}

async function ensure(connectionId: string, options?: EnsureFreshOptions): Promise<RefreshResult> {
  return (await start(connectionId, options)).result();
}

async function failureOf(run: { result(): Promise<unknown> }): Promise<unknown> {
  const failure: unknown = await run.result().catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(WorkflowFailedError);
  return (failure as WorkflowFailedError).cause;
}

/** The next answer of the token endpoint waits for the function that this returns. */
function holdAnswer(): { answer: () => void; arrived: Promise<void> } {
  let answer: () => void = () => undefined;
  const hold = new Promise<void>((resolve) => (answer = resolve));
  endpoint.script({ hold });
  return { answer, arrived: endpoint.waitForRequests(endpoint.requests.length + 1) };
}

async function refreshRunsOf(connectionId: string): Promise<number> {
  const handle = stack.temporal.workflow.getHandle(refreshWorkflowId(connectionId));
  try {
    await handle.describe();
    return 1;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 0;
    throw error;
  }
}

describe('ensureFresh in a Workflow of somebody else', () => {
  it('has an expired token refreshed, and answers with a reference', async () => {
    const id = await expired();
    const parent = await start(id);
    const result = await parent.result();
    expect(result).toMatchObject({ connectionId: id, outcome: 'refreshed', tokenVersion: 2 });
    expect(Date.parse(result.expiresAt ?? '')).toBeGreaterThan(Date.now());
    const { body } = await stack.getToken(id);
    expect(body['token_version']).toBe(2);
    const [child] = await childrenOf(parent);
    for (const history of [parent, child]) {
      expect(JSON.stringify(await history?.fetchHistory())).not.toContain(
        Buffer.from(String(body['access_token'])).toString('base64').slice(0, 12),
      );
    }
  });

  it('starts no refresh for a token that is not due', async () => {
    const id = await fresh();
    expect(await ensure(id)).toMatchObject({ outcome: 'already_fresh', tokenVersion: 1 });
    expect(await ensure(id, { minTtlSeconds: 600 })).toMatchObject({ outcome: 'already_fresh' });
    expect(await refreshRunsOf(id)).toBe(0);
  });

  it('refreshes for a minimum lifetime, for a newer version, and for a token past its due time', async () => {
    const id = await stack.addConnection(appId, endpoint.grant(), { expires_in: 30 });
    expect(await ensure(id, { minTtlSeconds: 600 })).toMatchObject({ outcome: 'already_fresh' });
    await stack.database.pool.query(
      `update connections set expires_at = now() + interval '10 seconds' where id = $1`,
      [id],
    );
    expect(await ensure(id, { minTtlSeconds: 15 })).toMatchObject({ tokenVersion: 2 });
    expect(await ensure(id, { newerThan: 2 })).toMatchObject({ tokenVersion: 3 });
    await stack.database.pool.query(`update connections set refresh_due_at = now() where id = $1`, [
      id,
    ]);
    expect(await ensure(id)).toMatchObject({ outcome: 'refreshed', tokenVersion: 4 });
  });

  it('refreshes once for all who were refused the same version', async () => {
    const id = await fresh();
    const before = endpoint.truth().exchanges;
    const herd = await Promise.all(
      Array.from({ length: 10 }, () => ensure(id, { rejectedTokenVersion: 1 })),
    );
    expect(new Set(herd.map(({ tokenVersion }) => tokenVersion))).toEqual(new Set([2]));
    const late = await ensure(id, { rejectedTokenVersion: 1 });
    expect(late).toMatchObject({ outcome: 'already_fresh', tokenVersion: 2 });
    expect(endpoint.truth().exchanges - before).toBe(1);
  });

  it('answers with what became of the connection', async () => {
    expect(await ensure('nobody')).toMatchObject({ outcome: 'gone', expiresAt: null });

    const paused = await expired();
    await stack.call('POST', `/v1/connections/${paused}/pause`);
    expect(await ensure(paused)).toMatchObject({ outcome: 'paused', tokenVersion: 1 });

    const revoked = await expired();
    endpoint.script({ status: 400, body: { error: 'invalid_grant' } });
    expect(await ensure(revoked)).toMatchObject({ outcome: 'reauthorization_required' });
    // From the row alone.
    expect(await ensure(revoked)).toMatchObject({ outcome: 'reauthorization_required' });

    const withoutRefreshToken = await stack.addConnection(
      appId,
      { accessToken: 'a', refreshToken: 'r' },
      { refresh_token: undefined, expires_in: 3_600 },
    );
    expect(await ensure(withoutRefreshToken)).toMatchObject({ outcome: 'already_fresh' });
    expect(await ensure(withoutRefreshToken, { rejectedTokenVersion: 1 })).toMatchObject({
      outcome: 'reauthorization_required',
    });
  });

  it('keeps a valid token where its refresh cannot be had', async () => {
    const id = await fresh();
    await stack.database.pool.query(
      `update connections set refresh_due_at = now(), next_attempt_at = now() + interval '5 minutes'
       where id = $1`,
      [id],
    );
    expect(await ensure(id)).toMatchObject({ outcome: 'already_fresh', tokenVersion: 1 });
    expect(await ensure(id, { newerThan: 1 })).toMatchObject({ outcome: 'waiting' });
  });

  it('refuses an id and a version that cannot be', async () => {
    const refused = await failureOf(await start('not an id'));
    expect(refused).toBeInstanceOf(ApplicationFailure);
    expect(refused).toMatchObject({ type: 'input_validation', nonRetryable: true });
    expect((refused as Error).message).toContain('connectionId must be');

    const ahead = await failureOf(await start(await fresh(), { newerThan: 7 }));
    expect(ahead).toBeInstanceOf(ChildWorkflowFailure);
    expect(JSON.stringify(causes(ahead))).toContain(
      'newerThan is 7, ahead of the current token version, 1',
    );
  });

  it('ends no wait but its own when it is cancelled, terminated or over its time', async () => {
    const id = await expired();
    const { answer, arrived } = holdAnswer();
    const cancelled = await start(id);
    const terminated = await start(id);
    const late = await start(id, { timeoutMs: 2_000 });
    const patient = await start(id);
    const both = await parents.client.workflow.start<typeof givesOneUp>('givesOneUp', {
      workflowId: `parent-${randomUUID()}`,
      taskQueue: parents.taskQueue,
      args: [{ connectionId: id, options: { taskQueue } }],
    });
    await arrived;
    await expect.poll(() => childrenOf(terminated)).toHaveLength(1);
    const [orphan] = await childrenOf(terminated);
    await cancelled.cancel();
    await terminated.terminate('test');
    expect(await failureOf(cancelled)).toBeInstanceOf(CancelledFailure);
    expect(causes(await failureOf(late)).at(-1)).toBeInstanceOf(TimeoutFailure);
    // The refresh goes on under all of that.
    expect(await stack.describeRun(id)).toMatchObject({ status: 'RUNNING' });

    answer();
    expect(await patient.result()).toMatchObject({ outcome: 'refreshed', tokenVersion: 2 });
    expect(await both.result()).toMatchObject({
      givenUp: 'ChildWorkflowFailure',
      kept: { outcome: 'refreshed', tokenVersion: 2 },
    });
    expect(await orphan?.result()).toMatchObject({ outcome: 'refreshed', tokenVersion: 2 });
    await expect.poll(() => stack.describeRun(id)).toMatchObject({ status: 'COMPLETED' });
  });

  it('goes on with another worker when the one where it waits ends', async () => {
    const id = await expired();
    const { answer, arrived } = holdAnswer();
    const second = await stack.addWorker();
    const waiting = await Promise.all(Array.from({ length: 20 }, () => start(id)));
    await arrived;
    await expect.poll(() => openActivities(waiting)).toBe(20);
    const closing = second.close();
    await expect.poll(() => countEvents(waiting, 'activityTaskScheduled')).toBeGreaterThan(20);
    await expect.poll(() => openActivities(waiting)).toBe(20);
    answer();
    const results = await Promise.all(waiting.map((parent) => parent.result()));
    expect(new Set(results.map(({ tokenVersion }) => tokenVersion))).toEqual(new Set([2]));
    // It said so itself, rather than be found dead.
    expect(await countEvents(waiting, 'activityTaskTimedOut')).toBe(0);
    await closing;
  });
});

describe('executeChild(refreshConnection) by a single owner', () => {
  function own(connectionId: string): Promise<WorkflowHandle<typeof ownsRefresh>> {
    return parents.client.workflow.start<typeof ownsRefresh>('ownsRefresh', {
      workflowId: `parent-${randomUUID()}`,
      taskQueue: parents.taskQueue,
      args: [{ connectionId, taskQueue: refreshQueue }],
    });
  }

  it('refreshes, and fails at once where a refresh runs already', async () => {
    const id = await expired();
    const { answer, arrived } = holdAnswer();
    const owner = await own(id);
    await arrived;
    const second = await (await own(id)).result();
    answer();
    expect(second).toBe('already started');
    expect(await owner.result()).toMatchObject({ outcome: 'refreshed', tokenVersion: 2 });
  });

  it('leaves the refresh to others when it ends itself', async () => {
    const id = await expired();
    const { answer, arrived } = holdAnswer();
    const owner = await own(id);
    await arrived;
    await owner.terminate('test');
    const caller = stack.getToken(id);
    answer();
    expect((await caller).body['token_version']).toBe(2);
    await expect.poll(() => stack.describeRun(id)).toMatchObject({ status: 'COMPLETED' });
  });
});

/** Children that the parent has started so far. */
async function childrenOf(parent: WorkflowHandle): Promise<WorkflowHandle[]> {
  const { events = [] } = await parent.fetchHistory();
  return (events ?? []).flatMap(({ childWorkflowExecutionStartedEventAttributes: started }) => {
    const workflowId = started?.workflowExecution?.workflowId ?? undefined;
    return workflowId === undefined ? [] : [parents.client.workflow.getHandle(workflowId)];
  });
}

/** Of the children of these parents, so many events of that kind. */
async function countEvents(
  of: WorkflowHandle[],
  kind: 'activityTaskScheduled' | 'activityTaskTimedOut',
): Promise<number> {
  const children = (await Promise.all(of.map(childrenOf))).flat();
  const histories = await Promise.all(children.map((child) => child.fetchHistory()));
  const events = histories.flatMap((history) => history.events ?? []);
  return events.filter((event) => Boolean(event[`${kind}EventAttributes`])).length;
}

/** Of the children of these parents, so many Activities that a worker has taken. */
async function openActivities(of: WorkflowHandle[]): Promise<number> {
  const children = (await Promise.all(of.map(childrenOf))).flat();
  const descriptions = await Promise.all(children.map((child) => child.describe()));
  const pending = descriptions.flatMap(({ raw }) => raw.pendingActivities ?? []);
  return pending.filter(({ lastStartedTime }) => Boolean(lastStartedTime)).length;
}

/** The failure and all that it was caused by, the outermost first. */
function causes(failure: unknown): Error[] {
  if (!(failure instanceof Error)) return [];
  return [failure, ...causes(failure.cause)];
}
