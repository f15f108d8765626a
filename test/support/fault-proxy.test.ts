import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startFaultProxy, type FaultProxy } from './fault-proxy.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from './scripted-token-endpoint.ts';

let upstream: ScriptedTokenEndpoint;
let proxy: FaultProxy;
beforeEach(async () => {
  upstream = await startScriptedTokenEndpoint();
  proxy = await startFaultProxy(new URL(upstream.url).origin);
});
afterEach(async () => {
  await proxy.close();
  await upstream.close();
});

const refresh = (refreshToken = upstream.grant().refreshToken) =>
  fetch(`${proxy.origin}/token`, {
    method: 'POST',
    redirect: 'manual',
    body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken }),
  });

describe('the fault proxy', () => {
  it('passes requests and answers on', async () => {
    const answer = await refresh();
    expect(await answer.json()).toMatchObject({ token_type: 'Bearer', expires_in: 3_600 });
    expect(proxy.truth()).toEqual({
      connections: 1,
      requests: 1,
      forwarded: 1,
      answered: 1,
      faults: 0,
    });
  });

  it.each([
    ['drop', 'before', 0],
    ['drop', 'after', 1],
    ['reset', 'before', 0],
    ['reset', 'after', 1],
  ] as const)('%s %s the upstream commits', async (kind, when, exchanges) => {
    proxy.inject({ kind, when });
    await expect(refresh()).rejects.toThrow();
    expect(upstream.truth().exchanges).toBe(exchanges);
    expect(proxy.truth()).toMatchObject({ forwarded: exchanges, answered: exchanges, faults: 1 });
    expect((await refresh()).status).toBe(200);
  });

  it('answers 502 as a page, before or after the upstream commits', async () => {
    proxy.inject({ kind: 'bad_gateway', when: 'before' });
    proxy.inject({ kind: 'bad_gateway', when: 'after' });
    expect((await refresh()).status).toBe(502);
    expect(upstream.truth().exchanges).toBe(0);
    const answer = await refresh();
    expect([answer.status, answer.headers.get('content-type')]).toEqual([502, 'text/html']);
    expect(upstream.truth().exchanges).toBe(1);
  });

  it('truncates what the upstream answered', async () => {
    proxy.inject({ kind: 'truncate', atBytes: 10 });
    await expect(refresh().then((answer) => answer.text())).rejects.toThrow();
    expect(upstream.truth().exchanges).toBe(1);
  });

  it('redirects with 307, and the upstream sees nothing', async () => {
    proxy.inject({ kind: 'redirect', to: 'http://127.0.0.1:9/token' });
    const answer = await refresh();
    expect([answer.status, answer.headers.get('location')]).toEqual([
      307,
      'http://127.0.0.1:9/token',
    ]);
    expect(upstream.requests).toHaveLength(0);
  });

  it('holds until released, and delays', async () => {
    let release = (): void => undefined;
    const until = new Promise<void>((resolve) => {
      release = resolve;
    });
    proxy.inject({ kind: 'hold', when: 'after', until });
    const held = refresh();
    await upstream.waitForRequests(1);
    expect(upstream.truth().exchanges).toBe(1);
    release();
    expect((await held).status).toBe(200);

    proxy.inject({ kind: 'delay', when: 'before', ms: 100 });
    const startedAt = performance.now();
    await refresh();
    expect(performance.now() - startedAt).toBeGreaterThan(90);
  });

  it('repeats a fault so often, or until cleared, and only for requests that hold a text', async () => {
    const { refreshToken } = upstream.grant();
    proxy.inject(
      { kind: 'bad_gateway', when: 'before' },
      { times: 'always', holding: refreshToken },
    );
    expect((await refresh()).status).toBe(200);
    expect((await refresh(refreshToken)).status).toBe(502);
    expect((await refresh(refreshToken)).status).toBe(502);
    proxy.clear();
    expect((await refresh(refreshToken)).status).toBe(200);
    expect(proxy.requestsHolding(refreshToken)).toBe(3);
  });
});
