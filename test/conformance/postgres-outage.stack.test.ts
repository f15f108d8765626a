import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const outageMs = 10_000;
const settledWithinMs = 40_000;

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let proxy: PostgresProxy;
let appId: string;

beforeAll(async () => {
  endpoint = await startScriptedTokenEndpoint();
  stack = await startTestStack({
    connectThrough: async (databaseUrl) => {
      proxy = await startPostgresProxy(databaseUrl);
      return proxy.url;
    },
  });
  appId = await stack.addApp(endpoint.url);
});
afterEach(() => {
  endpoint.clearScript();
});
afterAll(async () => {
  await stack.close();
  await proxy.close();
  await endpoint.close();
});

/** What a well-behaved caller does: asks again while it is told to. */
async function askUntilServed(id: string): Promise<unknown> {
  const answers: unknown[] = [];
  await expect
    .poll(
      async () => {
        const answer = await stack.getToken(id);
        if (answer.status !== 200) {
          answers.push(answer.body['code']);
          expect(answer.body).toMatchObject({ retryable: true });
          expect(answer.headers.get('retry-after')).not.toBeNull();
        }
        return answer.body['token_version'];
      },
      { timeout: settledWithinMs, interval: 500 },
    )
    .toBe(2);
  return answers;
}

describe('PostgreSQL is away for 10 s at a step of an exchange', () => {
  it.each([
    ['reading the connection', 'load-exchange-subject', 'before'],
    ['claiming', 'claim-refresh', 'before'],
    ['the answer to the claim', 'claim-refresh', 'after'],
    ['committing', 'commit-tokens', 'before'],
    ['the answer to the commit', 'commit-tokens', 'after'],
  ] as const)(
    'at %s: one exchange, and its pair is stored',
    async (_step, statement, moment) => {
      const granted = endpoint.grant();
      const id = await stack.addConnection(appId, granted);
      const met = proxy.cutAt(statement, moment, outageMs);
      const served = askUntilServed(id);
      await met;
      await served;
      expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
      // What is stored is the live pair: the next exchange works, and nothing was reused.
      expect((await stack.refresh(id, { force: true })).body).toMatchObject({ token_version: 3 });
      expect(endpoint.truth()).toMatchObject({ reuse: 0, familyRevocations: 0 });
    },
    90_000,
  );

  it.each(['before', 'after'] as const)(
    'at settling a refusal (%s): the verdict is written, and nothing is sent again',
    async (moment) => {
      const granted = endpoint.grant();
      const id = await stack.addConnection(appId, granted);
      endpoint.script({ status: 400, body: { error: 'invalid_grant' } });
      const met = proxy.cutAt('settle-verdict', moment, 2_000);
      const first = stack.getToken(id);
      await met;
      await first;
      await expect
        .poll(async () => (await stack.getToken(id)).body['code'], { timeout: settledWithinMs })
        .toBe('reauthorization_required');
      expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
    },
    60_000,
  );

  it('after the answer, and the run is terminated while it stores: the pair is stored', async () => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted);
    const met = proxy.cutAt('commit-tokens', 'before', outageMs);
    const served = askUntilServed(id);
    await met;
    await stack.terminateRun(id);
    await served;
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
    expect((await stack.refresh(id, { force: true })).body).toMatchObject({ token_version: 3 });
  }, 90_000);
});
