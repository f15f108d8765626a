import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  AppMisconfiguredError,
  CallerRefusedError,
  ConnectionNotFoundError,
  ConnectionPausedError,
  ReauthorizationRequiredError,
  TemporarilyUnavailableError,
  TokenManagerClient,
  TokenManagerClientError,
  type ClientHooks,
  type TokenManagerClientOptions,
} from '../../client/token-manager-client.ts';
import {
  createTurnableClock,
  startScriptedGateway,
  type ScriptedAnswer,
  type ScriptedGateway,
} from './scripted-gateway.ts';

type RequestEvent = Parameters<NonNullable<ClientHooks['onRequest']>>[0];

let gateway: ScriptedGateway;
let clock: ReturnType<typeof createTurnableClock>;
let requests: RequestEvent[];
let sources: string[];
const clients: TokenManagerClient[] = [];

function createClient(options: Partial<TokenManagerClientOptions> = {}): TokenManagerClient {
  const hooks: ClientHooks = {
    onRequest: (event) => requests.push(event),
    onToken: ({ source }) => sources.push(source),
  };
  const client = new TokenManagerClient(
    { baseUrl: gateway.origin, hooks, ...options },
    { nowMs: clock.nowMs },
  );
  clients.push(client);
  return client;
}

/** Answers one after the other, the last one from then on. */
function answerInTurn(...answers: ScriptedAnswer[]): void {
  gateway.answer(() => (answers.length > 1 ? answers.shift() : answers[0]) ?? 'hang');
}

beforeAll(async () => {
  gateway = await startScriptedGateway();
});
beforeEach(async () => {
  // A test that failed may have left it away.
  await gateway.comeBack();
  gateway.requests.length = 0;
  answerInTurn({ token: {} });
  clock = createTurnableClock();
  [requests, sources] = [[], []];
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(() => gateway.close());

describe('problems', () => {
  it.each([
    ['reauthorization_required', ReauthorizationRequiredError, 'reauthorize'],
    ['connection_not_found', ConnectionNotFoundError, 'fix_request'],
    ['connection_paused', ConnectionPausedError, 'none'],
    ['app_misconfigured', AppMisconfiguredError, 'fix_app'],
    ['egress_refused', AppMisconfiguredError, 'fix_app'],
    ['unauthenticated', CallerRefusedError, 'fix_request'],
    ['forbidden', CallerRefusedError, 'fix_request'],
    ['internal', TokenManagerClientError, 'none'],
  ] as const)('%s is thrown at once, typed', async (problem, type, remedy) => {
    answerInTurn({ problem, reason: 'revoked' });
    const error: unknown = await createClient()
      .getToken('c1')
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(type);
    expect(error).toBeInstanceOf(TokenManagerClientError);
    expect(error).toMatchObject({
      name: type.name,
      code: problem,
      remedy,
      retryable: false,
      requestId: 'request-1',
      connectionId: 'c1',
      reason: 'revoked',
    });
    expect((error as Error).message).toContain(problem);
    expect((error as Error).message).toContain('request request-1');
    expect(gateway.requests).toHaveLength(1);
  });

  it('a code that this version does not know is taken as the answer describes it', async () => {
    gateway.answer(() => ({ status: 409, page: '{"code":"brand_new","remedy":"fix_app"}' }));
    const error: unknown = await createClient()
      .getToken('c1')
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'brand_new', remedy: 'fix_app', retryable: false });
  });

  it('an answer that holds no token says that it is not the service', async () => {
    gateway.answer(() => ({ status: 200, page: '<html></html>' }));
    await expect(createClient().getToken('c1')).rejects.toMatchObject({ code: 'answer_unusable' });
  });

  it('a token of another connection is not handed out', async () => {
    answerInTurn({ token: { connection_id: 'c2' } });
    await expect(createClient().getToken('c1')).rejects.toMatchObject({ code: 'answer_unusable' });
  });
});

describe('retries', () => {
  it('waits as long as Retry-After says', async () => {
    answerInTurn({ problem: 'refresh_in_progress', retryAfterSeconds: 1 }, { token: {} });
    const beganAtMs = performance.now();
    await createClient().getToken('c1');
    expect(performance.now() - beganAtMs).toBeGreaterThanOrEqual(1_000);
    expect(requests.map(({ attempt, code }) => [attempt, code])).toEqual([
      [1, 'refresh_in_progress'],
      [2, undefined],
    ]);
  });

  it('a wait beyond the deadline fails at once, and is told to those who come within it', async () => {
    answerInTurn({ problem: 'provider_rate_limited', retryAfterSeconds: 60 });
    const client = createClient({ deadlineMs: 5_000 });
    const failure = expect.objectContaining({
      name: 'TemporarilyUnavailableError',
      code: 'provider_rate_limited',
      retryAfterSeconds: 60,
    }) as unknown;
    await expect(client.getToken('c1')).rejects.toEqual(failure);
    await expect(client.getToken('c1')).rejects.toEqual(failure);
    expect(gateway.requests).toHaveLength(1);
  });

  it.each<[string, ScriptedAnswer]>([
    ['a reset', 'reset'],
    ['the page of a proxy', { status: 502, page: '<h1>Bad Gateway</h1>' }],
    ['an overloaded gateway', { problem: 'overloaded', retryAfterSeconds: 0 }],
  ])('outlives %s', async (_what, trouble) => {
    answerInTurn(trouble, { token: {} });
    expect((await createClient().getToken('c1')).tokenVersion).toBe(1);
    expect(gateway.requests).toHaveLength(2);
  });

  it('ends at the deadline when nothing answers', async () => {
    gateway.answer(() => 'hang');
    const beganAtMs = performance.now();
    await expect(createClient({ deadlineMs: 1_000 }).getToken('c1')).rejects.toBeInstanceOf(
      TemporarilyUnavailableError,
    );
    expect(performance.now() - beganAtMs).toBeLessThan(3_000);
  });

  it('a budget of ten and a tenth of what goes well bounds what trouble adds', async () => {
    answerInTurn({ problem: 'store_unavailable' });
    const client = createClient({ deadlineMs: 3_000 });
    const ids = Array.from({ length: 100 }, (_, index) => `c${index}`);
    await Promise.allSettled(ids.map((id) => client.getToken(id)));
    expect(gateway.requests.length).toBeGreaterThan(100);
    expect(gateway.requests.length).toBeLessThanOrEqual(110);
  });

  it('sends a force again only if it surely did not arrive', async () => {
    answerInTurn('reset', { token: {} });
    const client = createClient();
    await expect(client.refresh('c1', { force: true })).rejects.toMatchObject({
      code: 'gateway_unreachable',
      retryable: true,
    });
    expect(gateway.requests).toHaveLength(1);

    await gateway.goAway();
    const waiting = client.refresh('c1', { force: true });
    await vi.waitUntil(() => requests.length >= 3);
    await gateway.comeBack();
    expect((await waiting).tokenVersion).toBe(1);
  });
});

describe('refresh', () => {
  it('a herd with the same rejected version is one request', async () => {
    answerInTurn({ token: { token_version: 7 } });
    const client = createClient();
    await client.getToken('c1');
    gateway.answer(async () => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return { token: { token_version: 8 } };
    });
    const refresh = () => client.refresh('c1', { rejectedTokenVersion: 7 });
    const tokens = await Promise.all(Array.from({ length: 500 }, refresh));
    expect(new Set(tokens.map(({ tokenVersion }) => tokenVersion))).toEqual(new Set([8]));
    // Those who come late find the newer token at hand.
    expect((await refresh()).tokenVersion).toBe(8);
    expect((await client.getToken('c1')).tokenVersion).toBe(8);
    const sent = gateway.requests.filter(({ method }) => method === 'POST');
    expect(sent.map(({ body }) => body)).toEqual([{ rejected_token_version: 7, wait_seconds: 10 }]);
  });

  it('passes on what is asked for', async () => {
    const client = createClient({ waitSeconds: 3 });
    await client.refresh('c1');
    await client.refresh('c1', { force: true });
    await client.refresh('c1', { minTtlSeconds: 600 });
    expect(gateway.requests.map(({ body }) => body)).toEqual([
      { wait_seconds: 3 },
      { force: true, wait_seconds: 3 },
      { min_ttl_seconds: 600, wait_seconds: 3 },
    ]);
  });

  it('is not waited for by those who only read', async () => {
    gateway.answer(({ method }) => (method === 'POST' ? 'hang' : { token: {} }));
    const client = createClient();
    client.refresh('c1', { force: true }).catch(() => undefined);
    expect((await client.getToken('c1')).tokenVersion).toBe(1);
  });
});

describe('a token at hand', () => {
  it('is handed out while the gateway is away, as long as it is valid', async () => {
    answerInTurn({ token: { expires_in: 100 } });
    const client = createClient({ cacheSeconds: 5, deadlineMs: 1_000 });
    await client.getToken('c1');
    await gateway.goAway();
    clock.turn(50_000);
    const beganAtMs = performance.now();
    expect((await client.getToken('c1')).tokenVersion).toBe(1);
    expect(performance.now() - beganAtMs).toBeLessThan(900);
    expect(sources.at(-1)).toBe('held');
    clock.turn(50_001);
    await expect(client.getToken('c1')).rejects.toMatchObject({ code: 'gateway_unreachable' });
    await gateway.comeBack();
  });

  it('is handed out after a second where the gateway hangs, and then at once', async () => {
    const client = createClient({ cacheSeconds: 5, deadlineMs: 4_000 });
    await client.getToken('c1');
    gateway.answer(() => 'hang');
    clock.turn(6_000);
    const beganAtMs = performance.now();
    await client.getToken('c1');
    expect(performance.now() - beganAtMs).toBeGreaterThanOrEqual(900);
    const againAtMs = performance.now();
    await client.getToken('c1');
    expect(performance.now() - againAtMs).toBeLessThan(500);
  });

  it.each<[string, ScriptedAnswer]>([
    ['cannot read its store', { problem: 'store_unavailable' }],
    ['has a fault', { problem: 'internal' }],
    ['is not where it was', { status: 404, page: 'no such host' }],
  ])('is handed out while the service %s', async (_what, trouble) => {
    const client = createClient();
    await client.getToken('c1');
    answerInTurn(trouble);
    clock.turn(6_000);
    expect((await client.getToken('c1')).tokenVersion).toBe(1);
  });

  it('goes with a verdict', async () => {
    const client = createClient();
    await client.getToken('c1');
    answerInTurn({ problem: 'connection_not_found' });
    clock.turn(6_000);
    await expect(client.getToken('c1')).rejects.toBeInstanceOf(ConnectionNotFoundError);
    answerInTurn({ problem: 'store_unavailable', retryAfterSeconds: 60 });
    await expect(client.getToken('c1')).rejects.toMatchObject({ code: 'store_unavailable' });
  });
});

describe('a gateway that is away', () => {
  it('is asked by one request at a time until it answers, and waited for', async () => {
    await gateway.goAway();
    const changes: boolean[] = [];
    const client = createClient({
      deadlineMs: 20_000,
      hooks: {
        onRequest: (event) => requests.push(event),
        onGatewayAway: (isAway) => changes.push(isAway),
      },
    });
    const ids = Array.from({ length: 50 }, (_, index) => `c${index}`);
    const answers = Promise.allSettled(ids.map((id) => client.getToken(id)));
    await vi.waitUntil(() => changes.length > 0);
    const sentBefore = requests.length;
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(requests.length - sentBefore).toBeLessThanOrEqual(5);
    await gateway.comeBack();
    const later = await client.getToken('late');
    expect(later.tokenVersion).toBe(1);
    expect(changes).toEqual([true, false]);
    // Ten could be tried again; the others were told at once that nobody is there.
    const ends = await answers;
    expect(ends.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThanOrEqual(1);
  });
});
