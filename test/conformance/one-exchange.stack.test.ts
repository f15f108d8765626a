import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let appId: string;

beforeAll(async () => {
  [stack, endpoint] = await Promise.all([startTestStack(), startScriptedTokenEndpoint()]);
  appId = await stack.addApp(endpoint.url);
});
afterAll(async () => {
  await stack.close();
  await endpoint.close();
});

describe('one exchange', () => {
  it('R01 an expired token costs one exchange, and the new pair is stored', async () => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted);
    const answer = await stack.getToken(id);
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
    expect(answer.body['refreshed']).toBe(true);
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
  });
});
