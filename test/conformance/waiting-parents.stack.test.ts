import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startParentWorker, type ParentWorker } from '../support/parent-worker.ts';
import type { ensuresFresh } from '../support/parent-workflows.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

/** `npm run waiting-test` has 500. */
const parentCount = Number(process.env['WAITING_PARENTS'] ?? '100');
const measured = 40;
/** Other test files share the two cores, and so do the waits. */
const slowdownMax = 3;
const slackMs = 300;
/** The refresh that is waited for sleeps for no longer, and is put off again before that. */
const putOffSeconds = 10;
const arrivalLimitMs = 300_000;

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let slow: ScriptedTokenEndpoint;
let parents: ParentWorker;
let puttingOff: NodeJS.Timeout | undefined;

beforeAll(async () => {
  [stack, endpoint, slow, parents] = await Promise.all([
    startTestStack(),
    startScriptedTokenEndpoint(),
    startScriptedTokenEndpoint(),
    startParentWorker(),
  ]);
});
afterAll(async () => {
  clearInterval(puttingOff);
  await parents.close();
  await stack.close();
  await endpoint.close();
  await slow.close();
});

/** The median of refreshes that callers wait for, one after the other, each of another connection. */
async function medianRefreshMs(ids: string[]): Promise<number> {
  const durationsMs: number[] = [];
  for (const id of ids) {
    const startedAt = performance.now();
    const { status, body } = await stack.getToken(id);
    durationsMs.push(performance.now() - startedAt);
    expect(status, JSON.stringify(body)).toBe(200);
  }
  return durationsMs.sort((a, b) => a - b)[Math.floor(ids.length / 2)] ?? Infinity;
}

async function putOff(connectionId: string, seconds: number): Promise<void> {
  await stack.database.pool.query(
    'update connections set next_attempt_at = now() + make_interval(secs => $2) where id = $1',
    [connectionId, seconds],
  );
}

function countWaits(connectionId: string): Promise<number> {
  const query = `WorkflowId STARTS_WITH "ensure-fresh/${connectionId}/" and ExecutionStatus = "Running"`;
  return stack.temporal.workflow.count(query).then(({ count }) => count);
}

describe(`${parentCount} parents that wait for one connection`, () => {
  it('leave the refreshes of other connections as they are, and all end with its token', async () => {
    const appId = await stack.addApp(endpoint.url);
    const addMeasured = () =>
      Promise.all(
        Array.from({ length: measured }, () => stack.addConnection(appId, endpoint.grant())),
      );
    const [before, during] = [await addMeasured(), await addMeasured()];
    const waited = await stack.addConnection(await stack.addApp(slow.url), slow.grant());
    const { wait: taskQueue } = stack.allInOne.services.config.temporal.taskQueues;
    const aloneMs = await medianRefreshMs(before);

    await putOff(waited, putOffSeconds);
    puttingOff = setInterval(() => void putOff(waited, putOffSeconds), 3_000);
    const runs = await Promise.all(
      Array.from({ length: parentCount }, () =>
        parents.client.workflow.start<typeof ensuresFresh>('ensuresFresh', {
          workflowId: `parent-${randomUUID()}`,
          taskQueue: parents.taskQueue,
          args: [{ connectionId: waited, options: { taskQueue } }],
        }),
      ),
    );
    await expect
      .poll(() => countWaits(waited), { timeout: arrivalLimitMs, interval: 500 })
      .toBe(parentCount);
    const crowdedMs = await medianRefreshMs(during);
    const stillWaiting = await countWaits(waited);
    clearInterval(puttingOff);
    await putOff(waited, 0);
    const results = await Promise.all(runs.map((run) => run.result()));

    process.stderr.write(
      `median of a refresh: ${aloneMs.toFixed(0)} ms alone, ` +
        `${crowdedMs.toFixed(0)} ms beside ${parentCount} who wait\n`,
    );
    expect(stillWaiting).toBe(parentCount);
    expect(crowdedMs).toBeLessThanOrEqual(slowdownMax * aloneMs + slackMs);
    expect(new Set(results.map(({ tokenVersion }) => tokenVersion))).toEqual(new Set([2]));
    expect(slow.truth()).toMatchObject({ exchanges: 1, reuse: 0 });
  }, 600_000);
});
