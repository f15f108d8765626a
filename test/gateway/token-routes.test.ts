import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TokenManagerError, type FailureClass } from '../../client/contract.ts';
import type { Connection } from '../../connections/connection.ts';
import {
  accessTokenOf,
  call,
  connectionRow,
  createFakeGateway,
  expired,
  refreshRow,
  resultOf,
  secondsFromStart,
  settle,
  startsAt,
  stoppedDatabaseClock,
} from './gateway-fakes.ts';

const tokenPath = '/v1/connections/c1/token';
const refreshPath = '/v1/connections/c1/token/refresh';

function failure(cls: FailureClass, code: string) {
  return { class: cls, code, at: secondsFromStart(-10), count: 1 };
}

describe('a read of a token that satisfies the demand', () => {
  it('answers the contract’s members without a refresh and without a cache', async () => {
    const { app, engine } = createFakeGateway();
    const { status, headers, json } = await call(app, 'GET', tokenPath);
    expect(status).toBe(200);
    expect(headers.get('Cache-Control')).toBe('no-store');
    expect(headers.get('Content-Type')).toBe('application/json');
    expect(json).toEqual({
      connection_id: 'c1',
      access_token: 'access-c1-7',
      token_type: 'Bearer',
      expires_at: '2026-11-23T12:30:00.000Z',
      expires_in: expect.any(Number) as number,
      scope: 'a b',
      token_version: 7,
      refreshed: false,
      connection_status: 'active',
      metadata: { instance_url: 'https://acme.example.com' },
    });
    // Whole seconds of half an hour, less what the test took.
    expect(json['expires_in']).toBeGreaterThan(1_740);
    expect(json['expires_in']).toBeLessThan(1_800);
    expect(engine.calls).toHaveLength(0);
  });

  it('answers null for a token that does not expire', async () => {
    const { app } = createFakeGateway({ row: connectionRow({ expiresAt: null, scope: null }) });
    const { json } = await call(app, 'GET', `${tokenPath}?min_ttl_seconds=86400`);
    expect(json).toMatchObject({ expires_at: null, expires_in: null, scope: null });
  });

  it.each<[string, Partial<Connection>, string]>([
    ['uncertain', { uncertainSince: startsAt }, 'uncertain'],
    ['paused', { pausedAt: startsAt }, 'paused'],
    ['under a verdict', { verdict: 'revoked' }, 'reauthorization_required'],
    ['waiting', { nextAttemptAt: secondsFromStart(60) }, 'active'],
    ['without a refresh token', { hasRefreshToken: false }, 'active'],
  ])('serves a valid token while the connection is %s (P9)', async (_state, changes, expected) => {
    const { app, engine } = createFakeGateway({ row: connectionRow(changes) });
    const { status, json } = await call(app, 'GET', tokenPath);
    expect(status).toBe(200);
    expect(json['connection_status']).toBe(expected);
    expect(engine.calls).toHaveLength(0);
  });

  it.each([
    ['min_ttl_seconds within what is left', 'GET', `${tokenPath}?min_ttl_seconds=1700`, undefined],
    ['min_token_version current', 'GET', `${tokenPath}?min_token_version=7`, undefined],
    ['an older rejected version', 'POST', refreshPath, { rejected_token_version: 6 }],
    ['a refresh that is not due', 'POST', refreshPath, undefined],
    ['a refresh that is not due, an empty body', 'POST', refreshPath, {}],
  ])('is satisfied by %s', async (_demand, method, path, body) => {
    const { app, engine } = createFakeGateway();
    const { status, json } = await call(app, method, path, body);
    expect([status, json['token_version'], engine.calls.length]).toEqual([200, 7, 0]);
  });

  it('lowers min_ttl_seconds to 80 % of the lifetime, so a demand beyond it causes no loop', async () => {
    const row = connectionRow({ lifetimeSeconds: 60, expiresAt: secondsFromStart(55) });
    const { app, engine } = createFakeGateway({ row });
    const { status } = await call(app, 'GET', `${tokenPath}?min_ttl_seconds=3600`);
    expect([status, engine.calls.length]).toEqual([200, 0]);
  });
});

describe('a demand that the stored token does not satisfy', () => {
  it.each([
    ['an expired token', 'GET', tokenPath, undefined, expired, 'read'],
    ['no token yet', 'GET', tokenPath, undefined, { hasAccessToken: false }, 'read'],
    ['too little left', 'GET', `${tokenPath}?min_ttl_seconds=2000`, undefined, {}, 'read'],
    ['the next version', 'GET', `${tokenPath}?min_token_version=8`, undefined, {}, 'read'],
    ['force', 'POST', refreshPath, { force: true }, {}, 'force'],
    [
      'the current version rejected',
      'POST',
      refreshPath,
      { rejected_token_version: 7 },
      {},
      'rejected',
    ],
    ['too little left, by POST', 'POST', refreshPath, { min_ttl_seconds: 2_000 }, {}, 'read'],
    ['a refresh that is due', 'POST', refreshPath, undefined, { refreshDueAt: startsAt }, 'read'],
    [
      'an older version rejected and the current expired',
      'POST',
      refreshPath,
      { rejected_token_version: 3 },
      expired,
      'rejected',
    ],
  ])('%s: asks for a refresh newer than the version at arrival', async (...parameters) => {
    const [, method, path, body, changes, trigger] = parameters;
    const { app, engine, rows } = createFakeGateway({ row: connectionRow(changes) });
    engine.respond = () => Promise.resolve(refreshRow(rows));
    const { status, json } = await call(app, method, path, body);
    expect(status).toBe(200);
    expect(json).toMatchObject({ token_version: 8, refreshed: true, access_token: 'access-c1-8' });
    expect(engine.calls).toHaveLength(1);
    expect(engine.calls[0]).toMatchObject({
      connectionId: 'c1',
      tenantId: 't1',
      provider: 'demo',
      newerThan: 7,
      trigger,
    });
  });

  it('takes a token stored after arrival for any min_ttl_seconds', async () => {
    const { app, engine, rows } = createFakeGateway({ row: connectionRow(expired) });
    engine.respond = () => {
      const result = refreshRow(rows);
      const row = connectionRow({ tokenVersion: 8, expiresAt: secondsFromStart(30) });
      rows.set('c1', { ...row, lifetimeSeconds: null });
      return Promise.resolve(result);
    };
    const { status } = await call(app, 'GET', `${tokenPath}?min_ttl_seconds=600`);
    expect([status, engine.calls.length]).toEqual([200, 1]);
  });

  it.each([
    ['rejected_token_version', 'POST', refreshPath, { rejected_token_version: 8 }],
    ['min_token_version', 'GET', `${tokenPath}?min_token_version=9`, undefined],
  ])('refuses a %s that was never handed out', async (name, method, path, body) => {
    const { app, engine } = createFakeGateway();
    const { status, json } = await call(app, method, path, body);
    expect([status, json['code'], engine.calls.length]).toEqual([400, 'input_validation', 0]);
    expect(JSON.stringify(json['errors'])).toContain(name);
  });

  it('passes on a sane traceparent, answers it, and begins a new trace for any other', async () => {
    const { app, engine, rows } = createFakeGateway();
    engine.respond = () => Promise.resolve(refreshRow(rows));
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    const answered: (string | null)[] = [];
    for (const value of [traceparent, 'x; drop', `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`]) {
      const answer = await app.request(refreshPath, {
        method: 'POST',
        body: '{"force":true}',
        headers: { 'Content-Type': 'application/json', traceparent: value },
      });
      answered.push(answer.headers.get('traceparent'));
    }
    expect(engine.calls.map((made) => made.traceparent)).toEqual(answered);
    const [kept, ...made] = answered;
    expect(kept).toBe(traceparent);
    expect(new Set(made).size).toBe(2);
    for (const begun of made) expect(begun).toMatch(/^00-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  });
});

describe('what stands between a connection and a refresh', () => {
  const waiting = { nextAttemptAt: secondsFromStart(41.5) };
  it.each<[string, Partial<Connection>, number, string, string | null]>([
    ['paused', { pausedAt: startsAt }, 409, 'connection_paused', null],
    ['under a verdict', { verdict: 'lost_rotation' }, 409, 'reauthorization_required', null],
    ['deleted', { deletedAt: startsAt }, 404, 'connection_not_found', null],
    [
      'misconfigured',
      { ...waiting, failure: failure('misconfigured', 'invalid_client') },
      409,
      'app_misconfigured',
      '42',
    ],
    [
      'refused an egress',
      { ...waiting, failure: failure('misconfigured', 'egress_refused') },
      409,
      'egress_refused',
      '42',
    ],
    [
      'rate limited',
      { ...waiting, failure: failure('rate_limited', 'http_429') },
      503,
      'provider_rate_limited',
      '42',
    ],
    [
      'waiting for the provider',
      { ...waiting, failure: failure('transient', 'http_503') },
      503,
      'provider_unavailable',
      '42',
    ],
    [
      'waiting after an unusable answer',
      { ...waiting, failure: failure('protocol_break', 'http_200') },
      502,
      'provider_answer_unusable',
      '42',
    ],
    [
      'waiting for the key service',
      { ...waiting, failure: failure('transient', 'key_service_unavailable') },
      503,
      'key_service_unavailable',
      '42',
    ],
    ['waiting for its own pace', waiting, 503, 'refresh_in_progress', '42'],
    [
      'uncertain, class X',
      { ...waiting, uncertainSince: startsAt, rotationClass: 'X' },
      503,
      'refresh_uncertain',
      '42',
    ],
    [
      'uncertain and waiting, class S',
      { ...waiting, uncertainSince: startsAt, rotationClass: 'S' },
      503,
      'refresh_uncertain',
      '42',
    ],
  ])('%s: the stored problem at once, without a run, force included', async (...parameters) => {
    const [, changes, expectedStatus, code, retryAfter] = parameters;
    const demands = [
      ['GET', tokenPath, undefined, expired],
      ['POST', refreshPath, undefined, expired],
      ['POST', refreshPath, { force: true }, {}],
      ['POST', refreshPath, { rejected_token_version: 7 }, {}],
      ['GET', `${tokenPath}?min_ttl_seconds=2000`, undefined, {}],
    ] as const;
    for (const [method, path, body, token] of demands) {
      const { app, engine } = createFakeGateway({
        row: connectionRow({ ...changes, ...token }),
        databaseClock: stoppedDatabaseClock,
      });
      const { status, json, headers } = await call(app, method, path, body);
      expect([status, json['code'], engine.calls.length]).toEqual([expectedStatus, code, 0]);
      expect(headers.get('Retry-After')).toBe(retryAfter);
    }
  });

  it.each<[string, Partial<Connection>, string, object | undefined]>([
    ['an expired token', expired, 'GET', undefined],
    ['a due time that has come', { refreshDueAt: startsAt }, 'POST', { force: true }],
    ['a refused token', { refreshDueAt: null }, 'POST', { rejected_token_version: 7 }],
  ])('uncertain, with %s: starts the run that resolves it', async (_name, token, method, body) => {
    const row = connectionRow({ uncertainSince: startsAt, ...token });
    const { app, engine, rows } = createFakeGateway({ row });
    engine.respond = () => Promise.resolve(refreshRow(rows));
    const { status } = await call(app, method, method === 'GET' ? tokenPath : refreshPath, body);
    expect([status, engine.calls.length]).toEqual([200, 1]);
  });

  it.each([
    ['its due time', secondsFromStart(41.5), '42'],
    ['nobody knows when', null, '5'],
  ])('uncertain, until %s: force hastens nothing', async (_name, refreshDueAt, retryAfter) => {
    const row = connectionRow({ uncertainSince: startsAt, refreshDueAt });
    const { app, engine } = createFakeGateway({ row });
    const { status, json, headers } = await call(app, 'POST', refreshPath, { force: true });
    expect([status, json['code'], engine.calls.length]).toEqual([503, 'refresh_uncertain', 0]);
    expect(headers.get('Retry-After')).toBe(retryAfter);
  });

  it('a refused token asks once more where the run of others could not act', async () => {
    const row = connectionRow({ refreshDueAt: null });
    const { app, engine, rows } = createFakeGateway({ row });
    engine.respond = () => {
      rows.set('c1', { ...row, uncertainSince: startsAt });
      const isFirst = engine.calls.length === 1;
      return isFirst
        ? Promise.resolve({
            connectionId: 'c1',
            outcome: 'uncertain',
            tokenVersion: 7,
            expiresAt: null,
          })
        : Promise.resolve(refreshRow(rows));
    };
    const body = { rejected_token_version: 7 };
    const { status } = await call(app, 'POST', refreshPath, body);
    expect([status, engine.calls.length]).toEqual([200, 2]);
  });

  it('names the reason of a verdict', async () => {
    const row = connectionRow({ ...expired, verdict: 'refused' });
    const { json } = await call(createFakeGateway({ row }).app, 'GET', tokenPath);
    expect(json).toMatchObject({
      code: 'reauthorization_required',
      reason: 'refused',
      remedy: 'reauthorize',
      connection_id: 'c1',
    });
  });

  it('without a refresh token: refresh_not_possible while valid, then the customer is needed', async () => {
    const row = connectionRow({ hasRefreshToken: false });
    for (const body of [{ force: true }, { rejected_token_version: 7 }]) {
      const valid = await call(createFakeGateway({ row }).app, 'POST', refreshPath, body);
      expect([valid.status, valid.json['code']]).toEqual([409, 'refresh_not_possible']);
      const lapsed = createFakeGateway({ row: { ...row, ...expired } });
      const { json, status } = await call(lapsed.app, 'POST', refreshPath, body);
      expect([status, json['code'], json['reason']]).toEqual([
        409,
        'reauthorization_required',
        'no_refresh_token',
      ]);
    }
  });

  it('a due refresh that cannot be had is no reason to withhold a valid token', async () => {
    const due = { refreshDueAt: startsAt };
    for (const changes of [{ pausedAt: startsAt }, waiting, { verdict: 'revoked' as const }]) {
      const { app, engine } = createFakeGateway({ row: connectionRow({ ...due, ...changes }) });
      const { status } = await call(app, 'POST', refreshPath);
      expect([status, engine.calls.length]).toEqual([200, 0]);
    }
  });

  it('an unknown connection is not found', async () => {
    const { app } = createFakeGateway();
    const { status, json } = await call(app, 'GET', '/v1/connections/other/token');
    expect([status, json['code']]).toEqual([404, 'connection_not_found']);
  });
});

describe('how a run ends', () => {
  it.each<[string, Parameters<typeof resultOf>[1], Partial<Connection>, number, string]>([
    [
      'a verdict',
      'reauthorization_required',
      { verdict: 'revoked' },
      409,
      'reauthorization_required',
    ],
    ['an ambiguity', 'uncertain', { uncertainSince: startsAt }, 503, 'refresh_uncertain'],
    [
      'a wait',
      'waiting',
      { failure: failure('rate_limited', 'http_429'), nextAttemptAt: secondsFromStart(60) },
      503,
      'provider_rate_limited',
    ],
    [
      'a wait that is over by the time the row is read',
      'waiting',
      { failure: failure('transient', 'ECONNREFUSED'), nextAttemptAt: secondsFromStart(-1) },
      503,
      'provider_unavailable',
    ],
    [
      'a misconfigured app',
      'app_misconfigured',
      { failure: failure('misconfigured', 'invalid_client'), nextAttemptAt: secondsFromStart(60) },
      409,
      'app_misconfigured',
    ],
    ['a pause', 'paused', { pausedAt: startsAt }, 409, 'connection_paused'],
    ['a deletion', 'gone', { deletedAt: startsAt }, 404, 'connection_not_found'],
    ['a token that lapsed at once', 'refreshed', { tokenVersion: 8 }, 503, 'refresh_in_progress'],
  ])('%s is the callers’ problem, and no second run is started', async (...parameters) => {
    const [, outcome, changes, expectedStatus, code] = parameters;
    const { app, engine, rows } = createFakeGateway({ row: connectionRow(expired) });
    engine.respond = () => {
      const row = connectionRow({ ...expired, ...changes });
      rows.set('c1', row);
      return Promise.resolve(resultOf(row, outcome));
    };
    const { status, json } = await call(app, 'GET', tokenPath);
    expect([status, json['code'], engine.calls.length]).toEqual([expectedStatus, code, 1]);
  });

  it('serves a satisfying token found after a failed run', async () => {
    const { app, engine, rows } = createFakeGateway({ row: connectionRow(expired) });
    engine.respond = () => {
      refreshRow(rows);
      return Promise.resolve(resultOf(connectionRow(expired), 'waiting'));
    };
    const { status, json } = await call(app, 'GET', tokenPath);
    expect([status, json['token_version'], json['refreshed']]).toEqual([200, 8, true]);
  });

  it('an engine that is away: 503, but a due refresh still answers the valid token', async () => {
    const away = () => Promise.reject(new TokenManagerError('refresh_engine_unavailable'));
    const lapsed = createFakeGateway({ row: connectionRow(expired) });
    lapsed.engine.respond = away;
    const refused = await call(lapsed.app, 'GET', tokenPath);
    expect([refused.status, refused.json['code']]).toEqual([503, 'refresh_engine_unavailable']);
    expect(refused.headers.get('Retry-After')).toBe('1');

    const due = createFakeGateway({ row: connectionRow({ refreshDueAt: startsAt }) });
    due.engine.respond = away;
    expect((await call(due.app, 'POST', refreshPath)).status).toBe(200);
    expect((await call(due.app, 'POST', refreshPath, { force: true })).status).toBe(503);
  });

  it('an engine failure nobody foresaw is internal, its cause only in the log', async () => {
    const { app, engine, lines } = createFakeGateway({ row: connectionRow(expired) });
    engine.respond = () => Promise.reject(new Error('gRPC canary-detail'));
    const { status, text, json } = await call(app, 'GET', tokenPath);
    expect([status, json['code']]).toEqual([500, 'internal']);
    expect(text).not.toContain('canary-detail');
    const logged = lines.find((line) => line.includes('canary-detail'));
    expect(logged).toContain(String(json['request_id']));
  });
});

describe('single flight', () => {
  it('joins 1,000 callers of an expired connection to one run, and all get its token', async () => {
    const { app, engine, rows, metrics } = createFakeGateway({ row: connectionRow(expired) });
    const callers = Array.from({ length: 1_000 }, () => call(app, 'GET', tokenPath));
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    await settle();
    engine.calls[0]?.resolve(refreshRow(rows));
    const answers = await Promise.all(callers);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(new Set(answers.map(({ json }) => json['token_version']))).toEqual(new Set([8]));
    expect(engine.calls).toHaveLength(1);
    const { body } = await metrics.page();
    expect(body).toMatch(/token_manager_refresh_joined_total\{[^}]*\} 999/);
    expect(body).toMatch(/token_manager_token_reads_total\{.*source="refresh".*\} 1000/);
  });

  it('coalesces ten forced callers, and counts them as one against the limit', async () => {
    const { app, engine, rows } = createFakeGateway();
    const forced = Array.from({ length: 10 }, () =>
      call(app, 'POST', refreshPath, { force: true }),
    );
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    await settle();
    engine.calls[0]?.resolve(refreshRow(rows));
    const answers = await Promise.all(forced);
    expect(answers.map(({ json }) => json['token_version'])).toEqual(new Array(10).fill(8));
    expect(engine.calls).toHaveLength(1);
  });

  it('keeps connections apart', async () => {
    const { app, engine, rows } = createFakeGateway({ row: connectionRow(expired) });
    rows.set('c2', connectionRow({ ...expired, id: 'c2' }));
    engine.respond = ({ connectionId }) => Promise.resolve(refreshRow(rows, connectionId));
    await Promise.all([call(app, 'GET', tokenPath), call(app, 'GET', '/v1/connections/c2/token')]);
    expect(engine.calls.map((made) => made.connectionId).sort()).toEqual(['c1', 'c2']);
  });

  it('starts once more, and once only, when the run it joined was not newer than it needs', async () => {
    const { app, engine, rows } = createFakeGateway();
    const first = call(app, 'POST', refreshPath, { force: true });
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    // The run has stored version 8 but not ended when the second force arrives.
    const result = refreshRow(rows);
    const second = call(app, 'POST', refreshPath, { force: true });
    await settle();
    expect(engine.calls).toHaveLength(1);
    engine.calls[0]?.resolve(result);
    expect((await first).json['token_version']).toBe(8);
    await vi.waitFor(() => expect(engine.calls).toHaveLength(2));
    expect(engine.calls[1]).toMatchObject({ newerThan: 8, trigger: 'force' });
    engine.calls[1]?.resolve(refreshRow(rows));
    expect((await second).json).toMatchObject({ token_version: 9, refreshed: true });
  });

  it('does not loop over runs that end without a result', async () => {
    const { app, engine } = createFakeGateway({ row: connectionRow(expired) });
    engine.respond = () => Promise.resolve(undefined);
    const { status, json } = await call(app, 'GET', tokenPath);
    expect([status, json['code'], engine.calls.length]).toEqual([503, 'refresh_in_progress', 2]);
  });

  it('shares a failure: nobody who joined tries again', async () => {
    const { app, engine } = createFakeGateway({ row: connectionRow(expired) });
    const callers = Array.from({ length: 20 }, () => call(app, 'GET', tokenPath));
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    await settle();
    engine.calls[0]?.reject(new TokenManagerError('refresh_engine_unavailable'));
    const codes = (await Promise.all(callers)).map(({ json }) => json['code']);
    expect(new Set(codes)).toEqual(new Set(['refresh_engine_unavailable']));
    expect(engine.calls).toHaveLength(1);
  });

  it('a caller that goes away ends only its own wait', async () => {
    const { app, engine, rows } = createFakeGateway({ row: connectionRow(expired) });
    const leaver = new AbortController();
    const left = call(app, 'GET', tokenPath, undefined, { signal: leaver.signal });
    const stays = call(app, 'GET', tokenPath);
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    await settle();
    leaver.abort();
    expect((await left).status).toBe(503);
    expect(engine.calls[0]?.signal.aborted).toBe(false);
    engine.calls[0]?.resolve(refreshRow(rows));
    expect((await stays).status).toBe(200);
  });

  it('a caller that has already gone does not wait', async () => {
    const { app, engine } = createFakeGateway({ row: connectionRow(expired) });
    const answer = await call(app, 'GET', tokenPath, undefined, { signal: AbortSignal.abort() });
    expect([answer.status, engine.calls.length]).toEqual([503, 1]);
  }, 2_000);

  it('lets 6 refreshes a minute be forced on a valid token, then answers refresh_limited', async () => {
    const { app, engine, rows } = createFakeGateway();
    // What a claim writes: the worker counts, and every gateway reads it.
    const forcedSends: Date[] = [];
    engine.respond = () => {
      forcedSends.push(startsAt);
      const result = refreshRow(rows);
      rows.set('c1', { ...(rows.get('c1') ?? connectionRow()), forcedSends: [...forcedSends] });
      return Promise.resolve(result);
    };
    const statuses = [];
    for (let n = 0; n < 7; n += 1) {
      statuses.push((await call(app, 'POST', refreshPath, { force: true })).status);
    }
    expect(statuses).toEqual([200, 200, 200, 200, 200, 200, 429]);
    const { json, headers } = await call(app, 'POST', refreshPath, { rejected_token_version: 13 });
    expect(json['code']).toBe('refresh_limited');
    expect(Number(headers.get('Retry-After'))).toBeGreaterThan(50);
    expect(engine.calls).toHaveLength(6);
    // An expired token has to be refreshed anyway, whoever asks.
    rows.set('c1', connectionRow({ ...expired, tokenVersion: 13, forcedSends }));
    expect((await call(app, 'POST', refreshPath, { force: true })).status).toBe(200);
  });
});

describe('deadlines', () => {
  beforeEach(() =>
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] }),
  );
  afterEach(() => vi.useRealTimers());

  it('wait_seconds=0 starts the refresh and answers at once', async () => {
    const { app, engine, rows } = createFakeGateway({ row: connectionRow(expired) });
    const { status, json, headers } = await call(app, 'GET', `${tokenPath}?wait_seconds=0`);
    expect([status, json['code']]).toEqual([503, 'refresh_in_progress']);
    expect(headers.get('Retry-After')).toBe('1');
    expect(engine.calls).toHaveLength(1);
    engine.calls[0]?.resolve(refreshRow(rows));
    await settle();
    expect((await call(app, 'GET', `${tokenPath}?wait_seconds=0`)).status).toBe(200);
  });

  it('wait_seconds=0 on a due refresh answers the valid token and lets the run go on', async () => {
    const { app, engine } = createFakeGateway({ row: connectionRow({ refreshDueAt: startsAt }) });
    const { status, json } = await call(app, 'POST', refreshPath, { wait_seconds: 0 });
    expect([status, json['refreshed'], engine.calls.length]).toEqual([200, false, 1]);
  });

  it.each([
    ['10 s by default', tokenPath, 10_000],
    ['as asked', `${tokenPath}?wait_seconds=3`, 3_000],
  ])('a caller waits %s, the run longer', async (_what, path, waitMs) => {
    const { app, engine, rows } = createFakeGateway({ row: connectionRow(expired) });
    let answered = false;
    const answer = call(app, 'GET', path).finally(() => {
      answered = true;
    });
    await settle();
    await vi.advanceTimersByTimeAsync(waitMs - 1);
    await settle();
    expect(answered).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    const { status, json, headers } = await answer;
    expect([status, json['code']]).toEqual([503, 'refresh_in_progress']);
    expect(headers.get('Retry-After')).toBe('1');
    expect(engine.calls[0]?.signal.aborted).toBe(false);

    const next = call(app, 'GET', path);
    await settle();
    engine.calls[0]?.resolve(refreshRow(rows));
    expect((await next).status).toBe(200);
    expect(engine.calls).toHaveLength(1);
  });

  it('reads the row once more at the deadline', async () => {
    const { app, rows } = createFakeGateway({ row: connectionRow(expired) });
    const answer = call(app, 'GET', tokenPath);
    await settle();
    refreshRow(rows);
    await vi.advanceTimersByTimeAsync(10_000);
    expect((await answer).json).toMatchObject({ token_version: 8, refreshed: true });
  });

  it('answers a failure recorded while the caller waited rather than refresh_in_progress', async () => {
    const { app, rows } = createFakeGateway({ row: connectionRow(expired) });
    const answer = call(app, 'GET', tokenPath);
    await settle();
    const failed = { ...failure('transient', 'http_503'), at: secondsFromStart(4) };
    rows.set('c1', connectionRow({ ...expired, failure: failed }));
    await vi.advanceTimersByTimeAsync(10_000);
    expect((await answer).json['code']).toBe('provider_unavailable');
  });

  it('gives a run 75 s, then asks for it anew', async () => {
    const { app, engine, rows } = createFakeGateway({ row: connectionRow(expired) });
    await call(app, 'GET', `${tokenPath}?wait_seconds=0`);
    await vi.advanceTimersByTimeAsync(70_000);
    const late = call(app, 'GET', `${tokenPath}?wait_seconds=60`);
    await settle();
    expect(engine.calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(5_000);
    await settle();
    expect(engine.calls[0]?.signal.aborted).toBe(true);
    expect(engine.calls).toHaveLength(2);
    engine.calls[1]?.resolve(refreshRow(rows));
    expect((await late).status).toBe(200);
  });
});

describe('a refresh behind a valid token', () => {
  const inside = connectionRow({ refreshDueAt: secondsFromStart(-1) });

  it('answers at once with the current token and starts one run per connection', async () => {
    const { app, engine, rows } = createFakeGateway({ row: inside });
    for (let n = 0; n < 5; n += 1) {
      const { status, json } = await call(app, 'GET', tokenPath);
      expect([status, json['token_version'], json['refreshed']]).toEqual([200, 7, false]);
    }
    expect(engine.calls).toHaveLength(1);
    expect(engine.calls[0]).toMatchObject({ newerThan: 7, trigger: 'background' });
    engine.calls[0]?.resolve(refreshRow(rows));
    await settle();
    expect((await call(app, 'GET', tokenPath)).json['token_version']).toBe(8);
    expect(engine.calls).toHaveLength(1);
  });

  it('rests after one that brought nothing, instead of one run a read', async () => {
    const { app, engine } = createFakeGateway({ row: inside });
    engine.respond = () => Promise.reject(new TokenManagerError('refresh_engine_unavailable'));
    for (let n = 0; n < 20; n += 1) {
      expect((await call(app, 'GET', tokenPath)).status).toBe(200);
      await settle();
    }
    expect(engine.calls).toHaveLength(1);
  });

  it.each<[string, Partial<Connection>]>([
    ['paused', { pausedAt: startsAt }],
    ['waiting', { nextAttemptAt: secondsFromStart(5) }],
    ['without a refresh token', { hasRefreshToken: false }],
  ])('is not started while the connection is %s', async (_state, changes) => {
    const { app, engine } = createFakeGateway({ row: { ...inside, ...changes } });
    expect((await call(app, 'GET', tokenPath)).status).toBe(200);
    expect(engine.calls).toHaveLength(0);
  });
});

describe('HEAD', () => {
  it('answers as GET would from the row, without a body, and never refreshes', async () => {
    const valid = createFakeGateway({ row: connectionRow({ refreshDueAt: startsAt }) });
    const held = await call(valid.app, 'HEAD', tokenPath);
    expect([held.status, held.text]).toEqual([200, '']);
    expect(held.headers.get('Cache-Control')).toBe('no-store');
    const lapsed = createFakeGateway({ row: connectionRow(expired) });
    const none = await call(lapsed.app, 'HEAD', tokenPath);
    expect([none.status, none.text]).toEqual([503, '']);
    expect(none.headers.get('Retry-After')).toBe('1');
    expect(valid.engine.calls.length + lapsed.engine.calls.length).toBe(0);
    const paused = createFakeGateway({ row: connectionRow({ ...expired, pausedAt: startsAt }) });
    expect((await call(paused.app, 'HEAD', tokenPath)).status).toBe(409);
  });
});

describe('what reading costs', () => {
  it('is one SELECT for a fresh read, two around a refresh', async () => {
    const fresh = createFakeGateway();
    await call(fresh.app, 'GET', tokenPath);
    expect(fresh.state.reads).toBe(1);
    const stale = createFakeGateway({ row: connectionRow(expired) });
    stale.engine.respond = () => Promise.resolve(refreshRow(stale.rows));
    await call(stale.app, 'GET', tokenPath);
    expect(stale.state.reads).toBe(2);
  });

  it('hands out the token that belongs to the row', async () => {
    const { app, row } = createFakeGateway();
    expect((await call(app, 'GET', tokenPath)).json['access_token']).toBe(accessTokenOf(row));
  });
});
