import { randomUUID } from 'node:crypto';
import { Client, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import {
  CancelledFailure,
  defineSearchAttributeKey,
  SearchAttributeType,
} from '@temporalio/common';
import { NativeConnection, type Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { Activities } from '../../activities/index.ts';
import type { RefreshTokenInput, SealedExchange } from '../../activities/refresh-step.ts';
import type { RefreshConnectionInput, RefreshResult } from '../../client/contract.ts';
import { createActivityCalls } from '../../platform/activity-calls.ts';
import { createIdTracer } from '../../platform/tracer.ts';
import { createWorker } from '../../worker/create-worker.ts';
import { recordHistory } from './record-history.ts';
import { connectionId, scenarios, type Scenario } from './scenarios.ts';

const refreshOutcome = defineSearchAttributeKey('RefreshOutcome', SearchAttributeType.KEYWORD);
const taskQueue = `workflow-${randomUUID()}`;

type Refresh = (input: RefreshConnectionInput) => Promise<RefreshResult>;

let connection: NativeConnection;
let client: Client;
let worker: Worker;
let running: Promise<void>;
let scenario: Scenario;
let asked: [keyof Activities, unknown][];
let onAsked: () => void;

const activities: Activities = {
  refreshToken(input) {
    const step = scenario.steps[asked.filter(([name]) => name === 'refreshToken').length];
    return answer('refreshToken', input, step);
  },
  storeSealedTokens: (sealed) => answer('storeSealedTokens', sealed, scenario.stored ?? null),
  recoverSealedTokens: (input) => answer('recoverSealedTokens', input, scenario.recovered ?? null),
};

function answer<Answer>(
  name: keyof Activities,
  input: unknown,
  value: Answer | undefined,
): Promise<Answer> {
  asked.push([name, input]);
  onAsked();
  return value === undefined
    ? Promise.reject(new Error('nothing is left'))
    : Promise.resolve(value);
}

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
    shutdownGraceMs: 1_000,
  });
  running = worker.run();
});
afterAll(async () => {
  worker.shutdown();
  await running;
  await connection.close();
});

async function start(of: Scenario): Promise<WorkflowHandle<Refresh>> {
  scenario = of;
  asked = [];
  const { cancelAfter } = of;
  const handle = client.workflow.start<Refresh>('refreshConnection', {
    workflowId: `${of.name}-${randomUUID()}`,
    taskQueue,
    args: [{ connectionId, newerThan: 1, trigger: 'read' }],
  });
  onAsked = () => {
    // The run has gone to sleep by the time that the request arrives.
    if (asked.length === cancelAfter)
      setTimeout(() => void handle.then((run) => run.cancel()), 300);
  };
  return handle;
}

describe('refreshConnection', () => {
  it.each(scenarios)('$name', async (of) => {
    const run = await start(of);
    if (of.outcome === undefined) {
      const failure: unknown = await run.result().catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(WorkflowFailedError);
      expect((failure as WorkflowFailedError).cause).toBeInstanceOf(CancelledFailure);
    } else {
      expect(await run.result()).toMatchObject({ outcome: of.outcome });
      const { typedSearchAttributes } = await run.describe();
      expect(typedSearchAttributes.get(refreshOutcome)).toBe(of.outcome);
    }
    expect(asked.map(([name]) => name)).toEqual(of.asked);
    await recordHistory(of.name, run);
  });

  it('replays exactly the attempt that was ambiguous', async () => {
    const [, , replay] = await askedIn('replayed');
    expect((replay?.[1] as RefreshTokenInput).replayOf).toBe(1);
  });

  it('hands the sealed tokens on as they are', async () => {
    const [, store] = await askedIn('sealed-then-stored');
    expect((store?.[1] as SealedExchange).sealed).toBe('c2VhbGVk');
  });

  it('asks again after an Activity that failed for want of a dependency', async () => {
    const [happy] = scenarios;
    if (happy === undefined) throw new Error('there are no scenarios');
    let isFirst = true;
    const run = await start({
      ...happy,
      get steps() {
        const steps = isFirst ? [] : [...happy.steps, ...happy.steps];
        isFirst = false;
        return steps;
      },
    });
    expect(await run.result()).toMatchObject({ outcome: 'refreshed' });
    expect(asked).toHaveLength(2);
  });
});

async function askedIn(name: string): Promise<typeof asked> {
  const of = scenarios.find((candidate) => candidate.name === name);
  if (of === undefined) throw new Error(`there is no scenario ${name}`);
  await (await start(of)).result();
  return asked;
}
