import { randomUUID } from 'node:crypto';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TokenManagerClient } from '../../client/token-manager-client.ts';
import { refreshMarginSeconds } from '../../connections/freshness.ts';
import { buildIfStale } from '../../dev/build.mjs';
import { createSyncActivities } from '../../examples/sync/activities.mjs';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { startParentWorker, type ParentWorker } from '../support/parent-worker.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

/** `npm run sync-test` runs it for three minutes. */
const syncMs = 60_000 * Number(process.env['SYNC_MINUTES'] ?? '0.5');
const connectionCount = 60;
const lifetimeSeconds = 15;
const everyMs = 5_000;
const marginJitter = 1.1;
const example = new URL('../../examples/sync/', import.meta.url);

interface SyncInput {
  connectionId: string;
  forMs: number;
  everyMs: number;
  taskQueue?: string;
}
type Sync = (input: SyncInput) => Promise<{ calls: number; refreshes: number; waits: number }>;

/** What the API, as those who call it, has seen. */
const seen = { calls: 0, refused: 0, refusedAgain: 0, tokens: new Set<string>() };

let stack: TestStack;
let provider: DemoProviderServer;
let tokens: TokenManagerClient;
let parents: ParentWorker;

beforeAll(async () => {
  // The example imports token-manager/workflow as others do, which is what was built.
  await buildIfStale();
  [stack, provider] = await Promise.all([
    startTestStack(),
    startDemoProviderServer({ accessTokenTtlSeconds: lifetimeSeconds }),
  ]);
  tokens = new TokenManagerClient({
    baseUrl: stack.origin,
    allowedOrigins: [new URL(provider.issuer).origin],
    apiFetch: callApi,
  });
  parents = await startParentWorker({
    workflowsPath: fileURLToPath(new URL('workflows.mjs', example)),
    activities: createSyncActivities(tokens, provider.issuer),
  });
}, 240_000);
afterAll(async () => {
  await parents.close();
  tokens.close();
  await stack.close();
  provider.close();
});

async function callApi(...[url, init]: Parameters<typeof fetch>): Promise<Response> {
  const authorization = new Headers(init?.headers).get('authorization') ?? '';
  seen.tokens.add(authorization.replace(/^Bearer /, ''));
  seen.calls += 1;
  const answer = await fetch(url, init);
  if (answer.status === 401) seen.refused += 1;
  return answer;
}

describe('the sync example', () => {
  it(
    `syncs ${connectionCount} connections whose tokens live ${lifetimeSeconds} s with as few exchanges as may be`,
    { timeout: syncMs + 120_000 },
    async () => {
      const appId = await provider.registerApp(stack);
      const ids = await provider.addConnections(stack, appId, connectionCount);
      const beganAtMs = performance.now();
      const runs = await Promise.all(ids.map((id) => startSync(id)));
      const did = await Promise.all(runs.map((run) => run.result()));
      const seconds = (performance.now() - beganAtMs) / 1_000;

      const { total, connections } = provider.stats();
      const exchanges = ids.map((id) => connections[id]?.exchanges ?? 0);
      // The first, for the tokens that were imported had expired, and one each time that one comes due.
      const usableSeconds = lifetimeSeconds - refreshMarginSeconds(lifetimeSeconds) * marginJitter;
      const enough = 1 + Math.floor(seconds / usableSeconds);
      const calls = did.reduce((sum, each) => sum + each.calls, 0);
      process.stderr.write(
        `${connectionCount} connections, ${seconds.toFixed(0)} s: ${calls} calls of the API, ` +
          `${seen.refused} of them refused at first, ${total.exchanges} exchanges ` +
          `(at most ${enough * connectionCount} are needed)\n`,
      );
      // A refusal is followed by one call more, and that is not refused.
      expect(seen.calls).toBe(calls + seen.refused);
      expect(did.filter(({ waits }) => waits > 0)).toEqual([]);
      expect(Math.max(...exchanges)).toBeLessThanOrEqual(enough);
      expect(Math.min(...exchanges)).toBeGreaterThanOrEqual(1);
      expect(total).toMatchObject({ reuse: 0, family_revocations: 0 });
      await expectNoTokens(runs);
    },
  );

  it('runs as docs/workflows.md says', async () => {
    const appId = await provider.registerApp(stack);
    const [id = ''] = await provider.addConnections(stack, appId, 1);
    const { temporal } = stack.allInOne.services.config;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [fileURLToPath(new URL('sync.mjs', example)), id],
      {
        env: {
          PATH: process.env['PATH'] ?? '',
          TOKEN_MANAGER_URL: stack.origin,
          API_URL: provider.issuer,
          TEMPORAL_ADDRESS: temporal.address,
          TEMPORAL_NAMESPACE: temporal.namespace,
          WAIT_TASK_QUEUE: temporal.taskQueues.wait,
          SYNC_SECONDS: '3',
        },
      },
    );
    expect(JSON.parse(stdout)).toEqual({ connectionId: id, calls: 1, refreshes: 1, waits: 0 });
  }, 60_000);
});

function startSync(connectionId: string): Promise<WorkflowHandle<Sync>> {
  const { wait: taskQueue } = stack.allInOne.services.config.temporal.taskQueues;
  return parents.client.workflow.start<Sync>('syncConnection', {
    workflowId: `sync/${connectionId}/${randomUUID()}`,
    taskQueue: parents.taskQueue,
    args: [{ connectionId, forMs: syncMs, everyMs, taskQueue }],
  });
}

/** None that any call was made with, in any history of the parents. */
async function expectNoTokens(runs: WorkflowHandle[]): Promise<void> {
  // Payloads are base64, and a token in one may begin at any of three places.
  const planted = [...seen.tokens].flatMap((token) => [token, ...[0, 1, 2].map(base64From(token))]);
  expect(planted.length).toBeGreaterThan(4 * connectionCount);
  for (const run of runs) {
    const history = JSON.stringify(await run.fetchHistory());
    expect(planted.filter((text) => history.includes(text))).toEqual([]);
  }
}

/** What of the token's base64 is the same whatever stands around it, where it begins at this byte of three. */
function base64From(token: string): (offset: number) => string {
  return (offset) =>
    Buffer.from(`${'x'.repeat(offset)}${token}`)
      .toString('base64')
      .slice(4, 24);
}
