import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const hangMs = 20_000;
const readsARound = 400;
const roundsMin = 3;
/** Other test files share the two cores: a round that they disturb is measured again. */
const roundsMax = 12;
const slowdownMax = 3;

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;

beforeAll(async () => {
  [stack, endpoint] = await Promise.all([
    // Every read goes to PostgreSQL: what a held database connection would starve.
    startTestStack({ env: { TOKEN_CACHE_SECONDS: '0' } }),
    startScriptedTokenEndpoint(),
  ]);
});
afterAll(async () => {
  await stack.close();
  await endpoint.close();
});

/** The 99th percentile of reads one after the other, in milliseconds. */
async function readP99(id: string): Promise<number> {
  const durationsMs: number[] = [];
  for (let read = 0; read < readsARound; read += 1) {
    const startedAt = performance.now();
    const { status } = await stack.getToken(id);
    durationsMs.push(performance.now() - startedAt);
    expect(status).toBe(200);
  }
  return durationsMs.sort((a, b) => a - b)[Math.floor(readsARound * 0.99)] ?? Infinity;
}

async function bestOf(id: string, rounds: number, enoughMs = 0): Promise<number> {
  let best = Infinity;
  for (let round = 0; round < rounds; round += 1) {
    best = Math.min(best, await readP99(id));
    if (round + 1 >= roundsMin && best <= enoughMs) break;
  }
  return best;
}

it('one refresh hangs for 20 s under 100 callers, and reads of another connection go on as before', async () => {
  const appId = await stack.addApp(endpoint.url);
  const other = await stack.addConnection(appId, endpoint.grant(), { expires_in: 3_600 });
  const hanging = await stack.addConnection(appId, endpoint.grant());
  const idleMs = await bestOf(other, roundsMin);

  endpoint.script({ delayMs: hangMs });
  const arrived = endpoint.waitForRequests(1);
  const callers = Array.from({ length: 100 }, () => stack.getToken(hanging, '?wait_seconds=40'));
  await arrived;
  const busyMs = await bestOf(other, roundsMax, slowdownMax * idleMs);
  expect(busyMs).toBeLessThanOrEqual(slowdownMax * idleMs);

  const answers = await Promise.all(callers);
  expect(new Set(answers.map(({ body }) => body['token_version']))).toEqual(new Set([2]));
  expect(endpoint.truth()).toMatchObject({ exchanges: 1, reuse: 0 });
}, 90_000);
