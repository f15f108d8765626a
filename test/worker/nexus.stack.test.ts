import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { CancelledFailure, NexusOperationFailure } from '@temporalio/common';
import { msToTs } from '@temporalio/common/lib/time.js';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { EnsureFreshOptions } from '../../client/workflow.ts';
import { ensureNexusEndpoint } from '../../dev/nexus-endpoint.ts';
import { startParentWorker, type ParentWorker } from '../support/parent-worker.ts';
import type { ensuresFresh, ensuresUnchecked } from '../support/parent-workflows.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const nexusEndpoint = `token-manager-${randomUUID()}`;
const namespace = `others-${randomUUID()}`;
/** A server tells its parts of a new namespace and endpoint by and by. */
const knownWithinMs = 30_000;

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let parents: ParentWorker;
let appId: string;

beforeAll(async () => {
  [stack, endpoint] = await Promise.all([startTestStack(), startScriptedTokenEndpoint()]);
  appId = await stack.addApp(endpoint.url);
  const connection = await Connection.connect({ address: inject('temporalAddress') });
  await connection.workflowService.registerNamespace({
    namespace,
    workflowExecutionRetentionPeriod: msToTs('1 day'),
  });
  const { temporal } = stack.allInOne.services.config;
  // Twice: an endpoint that is there is brought to what it should be.
  for (const taskQueue of ['nobody-polls-this', temporal.taskQueues.wait]) {
    await ensureNexusEndpoint(connection, {
      name: nexusEndpoint,
      namespace: temporal.namespace,
      taskQueue,
    });
  }
  await connection.close();
  parents = await startParentWorkerOnceKnown();
}, 90_000);
afterAll(async () => {
  await parents.close();
  await stack.close();
  await endpoint.close();
});

async function startParentWorkerOnceKnown(): Promise<ParentWorker> {
  const endsAtMs = performance.now() + knownWithinMs;
  for (;;) {
    try {
      return await startParentWorker({ namespace });
    } catch (error) {
      if (performance.now() > endsAtMs) throw error;
      await sleep(500);
    }
  }
}

function start(
  connectionId: string,
  options: EnsureFreshOptions = {},
): Promise<WorkflowHandle<typeof ensuresFresh>> {
  return parents.client.workflow.start<typeof ensuresFresh>('ensuresFresh', {
    workflowId: `parent-${randomUUID()}`,
    taskQueue: parents.taskQueue,
    args: [{ connectionId, options: { nexusEndpoint, ...options } }],
  });
}

async function failureOf(run: { result(): Promise<unknown> }): Promise<Error | undefined> {
  const failure: unknown = await run.result().catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(WorkflowFailedError);
  return (failure as WorkflowFailedError).cause;
}

describe('ensureFresh through a Nexus endpoint, from another namespace', () => {
  it('shares one exchange among callers of both namespaces, and answers with a reference', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    const before = endpoint.truth().exchanges;
    const runs = await Promise.all(Array.from({ length: 5 }, () => start(id)));
    const [results, answer] = await Promise.all([
      Promise.all(runs.map((run) => run.result())),
      stack.getToken(id),
    ]);
    expect(results.map(({ tokenVersion }) => tokenVersion)).toEqual([2, 2, 2, 2, 2]);
    expect(answer.body['token_version']).toBe(2);
    expect(endpoint.truth().exchanges - before).toBe(1);
    const history = JSON.stringify(await runs[0]?.fetchHistory());
    const token = Buffer.from(String(answer.body['access_token'])).toString('base64');
    expect(history).not.toContain(token.slice(0, 12));
    // The demand is the caller's own, whatever others have asked for.
    expect(await (await start(id, { newerThan: 2 })).result()).toMatchObject({ tokenVersion: 3 });
    expect(await (await start(id)).result()).toMatchObject({ outcome: 'already_fresh' });
  });

  it('ends no wait but its own when it is cancelled', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    let answer: () => void = () => undefined;
    endpoint.script({ hold: new Promise<void>((resolve) => (answer = resolve)) });
    const arrived = endpoint.waitForRequests(endpoint.requests.length + 1);
    const [cancelled, patient] = [await start(id), await start(id)];
    await arrived;
    await expect.poll(() => waitsFor(id)).toEqual(['RUNNING', 'RUNNING']);
    await cancelled.cancel();
    expect(await failureOf(cancelled)).toBeInstanceOf(CancelledFailure);
    // The run behind the operation has ended too, and no other.
    await expect.poll(() => waitsFor(id)).toEqual(['CANCELLED', 'RUNNING']);
    expect(await stack.describeRun(id)).toMatchObject({ status: 'RUNNING' });
    answer();
    expect(await patient.result()).toMatchObject({ outcome: 'refreshed', tokenVersion: 2 });
  });

  it('refuses what no compiler has checked', async () => {
    const run = await parents.client.workflow.start<typeof ensuresUnchecked>('ensuresUnchecked', {
      workflowId: `parent-${randomUUID()}`,
      taskQueue: parents.taskQueue,
      args: [nexusEndpoint, { connectionId: 'c1', minTtlSeconds: -1 }],
    });
    const failure = await failureOf(run);
    expect(failure).toBeInstanceOf(NexusOperationFailure);
    expect(JSON.stringify(failure?.cause)).toContain('BAD_REQUEST');
    expect(String(failure?.cause)).toContain('minTtlSeconds must be');
  });
});

/** The status of each run of `ensureFresh` for the connection, sorted. */
async function waitsFor(connectionId: string): Promise<string[]> {
  const statuses: string[] = [];
  const query = `WorkflowId STARTS_WITH "ensure-fresh/${connectionId}/"`;
  for await (const run of stack.temporal.workflow.list({ query })) statuses.push(run.status.name);
  return statuses.sort();
}
