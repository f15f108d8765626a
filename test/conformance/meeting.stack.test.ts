import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildIfStale } from '../../dev/build.mjs';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { startParentWorker, type ParentWorker } from '../support/parent-worker.ts';
import type { ensuresFresh } from '../support/parent-workflows.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const serviceProgram = join(import.meta.dirname, '..', 'support', 'calling-service.mjs');
let stack: TestStack;
let provider: DemoProviderServer;
let parents: ParentWorker;
let connectionId: string;

beforeAll(async () => {
  // The services import token-manager/client as others do, which is what was built.
  await buildIfStale();
  [stack, provider, parents] = await Promise.all([
    startTestStack(),
    // Time for the Workflows to arrive while the refresh runs, and a token that outlives the test.
    startDemoProviderServer({ answerDelayMs: 3_000, accessTokenTtlSeconds: 600 }),
    startParentWorker(),
  ]);
  const appId = await provider.registerApp(stack);
  [connectionId = ''] = await provider.addConnections(stack, appId, 1);
}, 240_000);
afterAll(async () => {
  await parents.close();
  await stack.close();
  provider.close();
});

/** A process with a client of its own; `versions` after `begin` are what its callers got. */
async function startService(): Promise<{ begin: () => void; versions: Promise<unknown[]> }> {
  const args = [serviceProgram, stack.origin, connectionId, '20'];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [ready] = (await once(child.stdout, 'data')) as [Buffer];
  expect(ready.toString()).toBe('ready\n');
  return {
    begin: () => void child.stdin.write('go\n'),
    versions: text(child.stdout).then((said) => JSON.parse(said) as unknown[]),
  };
}

async function readPlainly(dispatcher: Agent): Promise<unknown> {
  const url = `${stack.origin}/v1/connections/${connectionId}/token?wait_seconds=30`;
  const { statusCode, body } = await request(url, { dispatcher });
  const answer = (await body.json()) as Record<string, unknown>;
  return statusCode === 200 ? answer['token_version'] : answer['code'];
}

/** A Workflow of another team; what it ends with is the version that it was told of. */
async function startParent(): Promise<() => Promise<unknown>> {
  const { wait: taskQueue } = stack.allInOne.services.config.temporal.taskQueues;
  const run = await parents.client.workflow.start<typeof ensuresFresh>('ensuresFresh', {
    workflowId: `parent-${randomUUID()}`,
    taskQueue: parents.taskQueue,
    args: [{ connectionId, options: { taskQueue } }],
  });
  return async () => (await run.result()).tokenVersion;
}

describe('an expired connection', () => {
  it(
    'that 50 Workflows, 20 service processes and 1,000 plain callers ask for at once has one exchange',
    { timeout: 120_000 },
    async () => {
      const services = await Promise.all(Array.from({ length: 20 }, startService));
      const dispatcher = new Agent({ headersTimeout: 60_000 });
      const workflows = Promise.all(
        Array.from({ length: 50 }, async () => (await startParent())()),
      );
      for (const { begin } of services) begin();
      const plain = Promise.all(Array.from({ length: 1_000 }, () => readPlainly(dispatcher)));
      const versions = [
        ...(await Promise.all(services.map(({ versions }) => versions))).flat(),
        ...(await plain),
        ...(await workflows),
      ];
      await dispatcher.close();
      expect(versions).toHaveLength(1_450);
      expect(new Set(versions)).toEqual(new Set([2]));
      expect(provider.stats().total).toMatchObject({ exchanges: 1, reuse: 0 });
    },
  );
});
