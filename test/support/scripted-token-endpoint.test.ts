import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from './scripted-token-endpoint.ts';

let endpoint: ScriptedTokenEndpoint;
beforeEach(async () => {
  endpoint = await startScriptedTokenEndpoint();
});
afterEach(async () => {
  await endpoint.close();
});

const refresh = (refreshToken: string) =>
  fetch(endpoint.url, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken }),
  });

describe('the scripted token endpoint', () => {
  it('rotates single-use tokens, and revokes the family on reuse', async () => {
    const { refreshToken } = endpoint.grant();
    const first = (await (await refresh(refreshToken)).json()) as { refresh_token: string };
    expect((await refresh(refreshToken)).status).toBe(400);
    expect((await refresh(first.refresh_token)).status).toBe(400);
    expect(endpoint.truth()).toMatchObject({ exchanges: 1, reuse: 1, familyRevocations: 1 });
    expect(endpoint.sendsOf(refreshToken)).toBe(2);
  });

  it('lets exactly one of many parallel requests with one token pass', async () => {
    const { refreshToken } = endpoint.grant();
    const answers = await Promise.all(Array.from({ length: 8 }, () => refresh(refreshToken)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(endpoint.truth()).toMatchObject({ exchanges: 1, familyRevocations: 1 });
  });

  it('follows its script, and then its default again', async () => {
    endpoint.script({ status: 503, headers: { 'retry-after': '1' }, body: 'later' });
    const { refreshToken } = endpoint.grant();
    const scripted = await refresh(refreshToken);
    expect([scripted.status, await scripted.text()]).toEqual([503, 'later']);
    expect((await refresh(refreshToken)).status).toBe(200);
    expect(endpoint.truth().exchanges).toBe(1);
    expect(endpoint.requests[0]?.params).toEqual({
      grant_type: 'refresh_token',
      refresh_token: refreshToken,
    });
  });

  it('spends the token before it drops the answer, or not', async () => {
    const { refreshToken } = endpoint.grant();
    endpoint.script(
      { drop: { how: 'reset', when: 'before' } },
      { drop: { how: 'close', when: 'after' } },
    );
    await expect(refresh(refreshToken)).rejects.toThrow();
    expect(endpoint.truth().exchanges).toBe(0);
    await expect(refresh(refreshToken)).rejects.toThrow();
    expect(endpoint.truth().exchanges).toBe(1);
  });

  it('holds an answer until it is released', async () => {
    const { promise, release } = createHold();
    endpoint.script({ hold: promise });
    const { refreshToken } = endpoint.grant();
    const answer = refresh(refreshToken);
    await endpoint.waitForRequests(1);
    expect(endpoint.truth().exchanges).toBe(1);
    release();
    expect((await answer).status).toBe(200);
  });
});

function createHold(): { promise: Promise<void>; release: () => void } {
  let release = (): void => undefined;
  const promise = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { promise, release };
}
