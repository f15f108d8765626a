import { randomUUID } from 'node:crypto';
import { Client, type WorkflowFailedError } from '@temporalio/client';
import { CancelledFailure } from '@temporalio/common';
import { NativeConnection, type Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { AwaitFreshTokenInput, AwaitStep } from '../../activities/await-fresh-token.ts';
import type { WaitActivities } from '../../activities/wait-activities.ts';
import type { EnsureFreshInput, RefreshResult } from '../../client/contract.ts';
import { createActivityCalls } from '../../platform/activity-calls.ts';
import { createIdTracer } from '../../platform/tracer.ts';
import { createWorker } from '../../worker/create-worker.ts';
import { recordHistory } from './record-history.ts';
import { connectionId } from './scenarios.ts';
import { arrival, waitScenarios } from './wait-scenarios.ts';

const taskQueue = `wait-${randomUUID()}`;

let connection: NativeConnection;
let client: Client;
let worker: Worker;
let running: Promise<void>;
let steps: AwaitStep[];
let asked: AwaitFreshTokenInput[];
let onAsked: () => void;
let release: () => void = () => undefined;

const activities: WaitActivities = {
  awaitFreshToken(input) {
    const step = steps[asked.length];
    asked.push(input);
    onAsked();
    // One that was cancelled need not hear of it; it ends with the tests.
    return step === undefined
      ? new Promise((resolve) => (release = () => resolve({ next: 'again', afterMs: 0, arrival })))
      : Promise.resolve(step);
  },
};

beforeAll(async () => {
  const namespace = inject('temporalNamespace');
  connection = await NativeConnection.connect({ address: inject('temporalAddress') });
  client = new Client({ connection, namespace });
  worker = await createWorker({
    connection,
    namespace,
    taskQueue,
    workflowBundlePath: inject('workflowBundlePath'),
    activities,
    activityInterceptors: createActivityCalls(createIdTracer()).interceptors,
    activitySlots: 10,
    workflowTaskSlots: 10,
    pollers: { initial: 2, minimum: 2, maximum: 4 },
    shutdownGraceMs: 0,
  });
  running = worker.run();
});
afterAll(async () => {
  release();
  worker.shutdown();
  await running;
  await connection.close();
});

describe('ensureFresh', () => {
  it.each(waitScenarios)('$name', async (of) => {
    ({ steps } = of);
    asked = [];
    let cancel: () => void = () => undefined;
    onAsked = () => {
      if (asked.length === of.cancelAfter) cancel();
    };
    const input = { connectionId, newerThan: 1 };
    type EnsureFresh = (input: EnsureFreshInput) => Promise<RefreshResult>;
    const run = await client.workflow.start<EnsureFresh>('ensureFresh', {
      workflowId: `${of.name}-${randomUUID()}`,
      taskQueue,
      args: [input],
    });
    cancel = () => void run.cancel();
    if (asked.length === of.cancelAfter) cancel();
    if (of.outcome === undefined) {
      const failure: unknown = await run.result().catch((error: unknown) => error);
      expect((failure as WorkflowFailedError).cause).toBeInstanceOf(CancelledFailure);
    } else {
      expect(await run.result()).toMatchObject({ outcome: of.outcome });
    }
    // What the first turn found is what all of them are judged by.
    const turns = of.cancelAfter ?? of.steps.length;
    expect(asked).toEqual(
      Array.from({ length: turns }, (_, turn) => ({
        ...input,
        arrival: turn === 0 ? null : arrival,
      })),
    );
    await recordHistory(of.name, run);
  });
});
