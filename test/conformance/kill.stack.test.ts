import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import type { Answer } from '../support/test-stack.ts';

/** `npm run kill-test` sets 20. */
const kills = Number(process.env['KILL_TEST_KILLS'] ?? 5);
const connectionCount = 100;
const callersWaitSeconds = 8;
/** Long enough for kills to fall between the provider's commit and its answer. */
const answerDelayMs = 150;
const stoppedMs = 90_000;
/** Instead of 60 s, so that the test need not wait that long for what the killed have left. */
const deadlineSeconds = 10;
/** answer_by is 3 s after the deadline, and then a run settles for 5 s. */
const resolvedAfterMs = 1_000 * (deadlineSeconds + 3 + 5 + 2);

let cluster: ServiceCluster;
let provider: DemoProviderServer;
let gateway: ServiceProcess;
let ids: string[];

beforeAll(async () => {
  [cluster, provider] = await Promise.all([
    createServiceCluster({ refresh: { deadlineSeconds: { F: deadlineSeconds } } }),
    startDemoProviderServer({ answerDelayMs }),
  ]);
  gateway = await cluster.startReady('gateway');
  const caller = callerOf(gateway);
  // Replays belong to the policy of class F and have tests of their own: here none may be sent.
  const appId = await provider.registerApp(caller, undefined, {
    ambiguity: { policy: 'never_replay' },
  });
  ids = await provider.addConnections(caller, appId, connectionCount);
}, 120_000);
afterAll(async () => {
  await cluster.close();
  provider.close();
});

async function expireAll(): Promise<void> {
  await cluster.database.pool.query(
    `update connections set expires_at = now() - interval '1 second', refresh_due_at = now()`,
  );
}

function askAll(waitSeconds = callersWaitSeconds): Promise<Answer[]> {
  return Promise.all(
    ids.map((id) =>
      callerOf(gateway).call('GET', `/v1/connections/${id}/token?wait_seconds=${waitSeconds}`),
    ),
  );
}

async function openIntents(): Promise<Set<string>> {
  const { rows } = await cluster.database.pool.query<{ connection_id: string }>(
    'select connection_id from refresh_intents',
  );
  return new Set(rows.map((row) => row.connection_id));
}

/** An answer, a problem that says to try again, or a token whose answer died with its worker. */
function expectHonest(answers: Answer[], openAtKill: Set<string>): void {
  for (const [index, { status, body }] of answers.entries()) {
    if (status === 200 || body['retryable'] === true) continue;
    expect(body).toMatchObject({ code: 'reauthorization_required', reason: 'lost_rotation' });
    expect(openAtKill).toContain(ids[index]);
  }
}

describe('workers are killed and stopped in the middle of refreshes', () => {
  it(
    `kill -9 at ${kills} random moments, and -STOP for 90 s: nothing is sent twice`,
    async () => {
      // One worker stands still for 90 s with calls in flight; others die meanwhile.
      const stopped = await cluster.startReady('worker');
      await expireAll();
      const whileStopping = askAll();
      await sleep(700);
      stopped.kill('SIGSTOP');
      const stoppedAt = performance.now();
      const openAtKill = await openIntents();
      expectHonest(await whileStopping, openAtKill);

      for (let kill = 0; kill < kills; kill += 1) {
        const worker = await cluster.startReady('worker');
        await expireAll();
        const callers = askAll();
        await sleep(200 + Math.random() * 2_000);
        worker.kill('SIGKILL');
        await worker.exited;
        for (const id of await openIntents()) openAtKill.add(id);
        expectHonest(await callers, openAtKill);
      }

      await cluster.startReady('worker');
      await sleep(Math.max(stoppedMs - (performance.now() - stoppedAt), 0));
      stopped.kill('SIGCONT');
      await sleep(Math.max(resolvedAfterMs - (performance.now() - stoppedAt - stoppedMs), 0));

      // Runs that meet an intent past its time settle it; those that wait longer are asked again.
      await askAll(30);
      const answers = await askAll(30);
      const outcomes = new Map<unknown, number>();
      for (const [index, { status, body }] of answers.entries()) {
        const outcome = status === 200 ? 'active' : body['code'];
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        if (status === 200) continue;
        expect(body).toMatchObject({ reason: 'lost_rotation' });
        expect(openAtKill).toContain(ids[index]);
      }
      // The provider would have ended the family of a token that came twice.
      expect(provider.stats().total).toMatchObject({ reuse: 0, family_revocations: 0 });
      expect(outcomes.get('active')).toBeGreaterThan(0);
      process.stdout.write(
        `kills ${kills}, exchanges ${provider.stats().total.exchanges}, ` +
          `${JSON.stringify(Object.fromEntries(outcomes))}\n`,
      );
    },
    400_000 + kills * 20_000,
  );
});
