import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  TokenManagerClient,
  type TokenManagerClientOptions,
} from '../../client/token-manager-client.ts';
import {
  createTurnableClock,
  startScriptedGateway,
  type ScriptedGateway,
} from './scripted-gateway.ts';

let gateway: ScriptedGateway;
let clock: ReturnType<typeof createTurnableClock>;
const clients: TokenManagerClient[] = [];

function createClient(options: Partial<TokenManagerClientOptions> = {}): TokenManagerClient {
  const client = new TokenManagerClient(
    { baseUrl: gateway.origin, ...options },
    { nowMs: clock.nowMs },
  );
  clients.push(client);
  return client;
}

beforeAll(async () => {
  gateway = await startScriptedGateway();
});
beforeEach(() => {
  gateway.requests.length = 0;
  gateway.answer(() => ({ token: {} }));
  clock = createTurnableClock();
});
afterEach(() => {
  vi.useRealTimers();
  for (const client of clients.splice(0)) client.close();
});
afterAll(() => gateway.close());

describe('getToken', () => {
  it('asks the token route and tells what it answers', async () => {
    const client = createClient({ key: () => Promise.resolve('key-1') });
    const token = await client.getToken('c~1:a', { minTtlSeconds: 60 });
    expect(gateway.requests[0]).toMatchObject({
      method: 'GET',
      connectionId: 'c~1:a',
      query: { min_ttl_seconds: '60', wait_seconds: '10' },
      headers: { authorization: 'Bearer key-1' },
    });
    expect(token).toMatchObject({
      connectionId: 'c~1:a',
      accessToken: 'token-canary-1',
      authorization: 'Bearer token-canary-1',
      tokenVersion: 1,
      expiresAt: new Date('2026-11-23T20:00:00.000Z'),
      scope: 'a b',
      connectionStatus: 'active',
    });
    expect(token.ttlSeconds()).toBeGreaterThan(1_790);
    expect(token.ttlSeconds()).toBeLessThanOrEqual(1_800);
  });

  it('puts a path of baseUrl before the routes', async () => {
    gateway.answer(() => ({ problem: 'not_found' }));
    const seen: string[] = [];
    const fetchAndTell: typeof fetch = (url, init) => {
      seen.push(url as string);
      return fetch(url, init);
    };
    const client = createClient({ baseUrl: `${gateway.origin}/tokens`, fetch: fetchAndTell });
    await client.getToken('c1').catch(() => undefined);
    expect(seen[0]).toBe(`${gateway.origin}/tokens/v1/connections/c1/token?wait_seconds=10`);
  });

  it('answers from memory for cacheSeconds, and asks again after them', async () => {
    const client = createClient({ cacheSeconds: 5 });
    await client.getToken('c1');
    clock.turn(4_000);
    await client.getToken('c1');
    expect(gateway.requests).toHaveLength(1);
    clock.turn(1_001);
    await client.getToken('c1');
    expect(gateway.requests).toHaveLength(2);
  });

  it('with cacheSeconds 0 asks each time, and holds nothing', async () => {
    const client = createClient({ cacheSeconds: 0, deadlineMs: 1_000 });
    await client.getToken('c1');
    await client.getToken('c1');
    expect(gateway.requests).toHaveLength(2);
    gateway.answer(() => ({ problem: 'store_unavailable', retryAfterSeconds: 5 }));
    await expect(client.getToken('c1')).rejects.toMatchObject({ code: 'store_unavailable' });
  });

  it('never hands out a token past its expiry, whatever the wall clock says', async () => {
    gateway.answer(() => ({ token: { expires_in: 3 } }));
    const client = createClient({ cacheSeconds: 60 });
    await client.getToken('c1');
    // A day back, and the token's three seconds have passed all the same.
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 86_400_000 });
    clock.turn(3_001);
    await client.getToken('c1');
    expect(gateway.requests).toHaveLength(2);
    // A day ahead, and it still has its three seconds.
    vi.setSystemTime(Date.now() + 2 * 86_400_000);
    await client.getToken('c1');
    expect(gateway.requests).toHaveLength(2);
  });

  it('counts the lifetime from when it asked, not from when the answer came', async () => {
    gateway.answer(async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      return { token: { expires_in: 10 } };
    });
    const token = await createClient().getToken('c1');
    expect(token.ttlSeconds()).toBeLessThanOrEqual(9.7);
  });

  it('takes null for a token that does not expire', async () => {
    gateway.answer(() => ({ token: { expires_in: null, expires_at: null } }));
    const client = createClient({ cacheSeconds: 300 });
    const token = await client.getToken('c1');
    clock.turn(299_000);
    expect(token.expiresAt).toBeNull();
    expect(token.ttlSeconds()).toBe(Infinity);
    expect((await client.getToken('c1', { minTtlSeconds: 86_400 })).tokenVersion).toBe(1);
    expect(gateway.requests).toHaveLength(1);
  });

  it('asks where the token at hand has less than minTtlSeconds left', async () => {
    gateway.answer(() => ({ token: { expires_in: 100 } }));
    const client = createClient({ cacheSeconds: 60 });
    await client.getToken('c1');
    clock.turn(50_000);
    gateway.answer(() => ({ token: { expires_in: 1_000, token_version: 2 } }));
    expect((await client.getToken('c1', { minTtlSeconds: 60 })).tokenVersion).toBe(2);
  });

  it('does not ask again and again for more than the provider gives', async () => {
    gateway.answer(() => ({ token: { expires_in: 100 } }));
    const client = createClient({ cacheSeconds: 5 });
    await client.getToken('c1', { minTtlSeconds: 3_600 });
    await client.getToken('c1', { minTtlSeconds: 3_600 });
    expect(gateway.requests).toHaveLength(1);
    await client.getToken('c1', { minTtlSeconds: 7_200 });
    expect(gateway.requests).toHaveLength(2);
  });

  it('holds no more connections than maxConnections, the longest unused go first', async () => {
    const client = createClient({ maxConnections: 2, cacheSeconds: 60 });
    for (const id of ['c1', 'c2', 'c1', 'c3']) await client.getToken(id);
    gateway.requests.length = 0;
    for (const id of ['c1', 'c3', 'c2']) await client.getToken(id);
    expect(gateway.requests.map(({ connectionId }) => connectionId)).toEqual(['c2']);
  });

  it('makes one request for a thousand callers of a connection', async () => {
    gateway.answer(async () => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return { token: {} };
    });
    const sources: string[] = [];
    const client = createClient({ hooks: { onToken: ({ source }) => sources.push(source) } });
    await Promise.all(Array.from({ length: 1_000 }, () => client.getToken('c1')));
    expect(gateway.requests).toHaveLength(1);
    expect(sources.filter((source) => source === 'joined')).toHaveLength(999);
  });

  it('an abort ends its own wait only', async () => {
    let answerNow = (): void => undefined;
    gateway.answer(async () => {
      await new Promise<void>((resolve) => (answerNow = resolve));
      return { token: {} };
    });
    const client = createClient();
    const aborting = new AbortController();
    const first = client.getToken('c1', { signal: aborting.signal });
    const second = client.getToken('c1');
    await vi.waitUntil(() => gateway.requests.length === 1);
    const reason = new Error('not needed any more');
    aborting.abort(reason);
    await expect(first).rejects.toBe(reason);
    answerNow();
    expect((await second).tokenVersion).toBe(1);
    expect(gateway.requests).toHaveLength(1);
    await expect(client.getToken('c1', { signal: aborting.signal })).rejects.toBe(reason);
  });

  it('never goes back to an older version, and asks for none', async () => {
    gateway.answer(() => ({ token: { token_version: 8 } }));
    const client = createClient({ cacheSeconds: 5, deadlineMs: 1_000 });
    await client.getToken('c1');
    clock.turn(5_001);
    gateway.answer(() => ({ token: { token_version: 7, access_token: 'old' } }));
    expect((await client.getToken('c1')).tokenVersion).toBe(8);
    expect(gateway.requests[1]?.query).toMatchObject({ min_token_version: '8' });
    clock.turn(1_800_000);
    await expect(client.getToken('c1')).rejects.toMatchObject({
      code: 'answer_outdated',
      retryable: true,
    });
  });

  it.each([
    ['connection id', () => createClient().getToken('a/b')],
    ['minTtlSeconds', () => createClient().getToken('c1', { minTtlSeconds: 0.5 })],
    ['rejectedTokenVersion', () => createClient().refresh('c1', { rejectedTokenVersion: NaN })],
  ])('refuses a %s that cannot be meant without a request', async (_what, call) => {
    await expect(call()).rejects.toMatchObject({
      name: 'InvalidRequestError',
      code: 'input_validation',
      remedy: 'fix_request',
    });
    expect(gateway.requests).toHaveLength(0);
  });

  it.each<[string, Partial<TokenManagerClientOptions>]>([
    ['a baseUrl of another scheme', { baseUrl: 'ftp://tokens' }],
    ['a key in baseUrl', { baseUrl: 'https://user:key@tokens' }],
    ['cacheSeconds below 0', { cacheSeconds: -1 }],
    ['a deadline that is none', { deadlineMs: NaN }],
    ['tls over http', { tls: { caFile: 'ca.pem' } }],
    ['a certificate without its key', { baseUrl: 'https://tokens', tls: { certFile: 'c.pem' } }],
    ['a URL as allowed origin', { allowedOrigins: ['https://api.example.com/v1'] }],
    ['http as allowed origin', { allowedOrigins: ['http://api.example.com'] }],
  ])('is not made with %s', (_what, options) => {
    expect(() => createClient(options)).toThrow(/^input_validation: /);
  });

  it('after close() says that it is closed', async () => {
    gateway.answer(() => 'hang');
    const client = createClient();
    const waiting = client.getToken('c1');
    await vi.waitUntil(() => gateway.requests.length === 1);
    client.close();
    await expect(waiting).rejects.toMatchObject({ code: 'client_closed' });
    await expect(client.getToken('c1')).rejects.toMatchObject({ code: 'client_closed' });
  });
});

describe('secrets', () => {
  it('print as [redacted], and are in no copy', async () => {
    const client = createClient({ key: 'key-canary' });
    const token = await client.getToken('c1');
    const printed = [
      inspect(token, { depth: 9, showHidden: true }),
      JSON.stringify({ token }),
      String(token),
      JSON.stringify(Object.assign({}, token)),
      inspect(structuredClone(Object.assign({}, token))),
      inspect(client, { depth: 9, showHidden: true }),
      JSON.stringify(client),
    ].join('\n');
    expect(printed).not.toMatch(/canary/);
    expect(inspect(token)).toContain("accessToken: '[redacted]'");
    expect(JSON.parse(JSON.stringify(token))).toMatchObject({
      accessToken: '[redacted]',
      tokenVersion: 1,
    });
  });

  it('are in no error', async () => {
    gateway.answer(() => 'reset');
    const client = createClient({ key: 'key-canary', deadlineMs: 1_000 });
    const error: unknown = await client.getToken('c1').catch((thrown: unknown) => thrown);
    expect(inspect(error, { depth: 9, showHidden: true })).not.toMatch(/canary/);
    expect(error).toMatchObject({ code: 'gateway_unreachable', connectionId: 'c1' });
  });
});
