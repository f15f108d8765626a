import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import type { PolicyCaller } from '../../gateway/caller-policy.ts';
import { createKeyCallers, keyHashOf } from '../../gateway/callers.ts';
import { policyCaller, policyOf, withKey } from './caller-fixtures.ts';
import { createComposer } from './compose-for-test.ts';
import { connectionRow, expired, refreshRow, stoppedDatabaseClock } from './gateway-fakes.ts';

const path = '/v1/connections/c1/token';
/** What sends the same request through the app. */
const throughApp = `${path}?wait_seconds=%31%30`;
const compose = createComposer();
const notices = { session: () => 1, subscribe: () => () => undefined };
const cached = { tokenCache: { seconds: 300, notices } };
const policy = (changes: Partial<PolicyCaller> = {}) =>
  policyOf(policyCaller({ key_hashes: [keyHashOf('key')], ...changes }));
const everywhere = policy();
const known = { callers: createKeyCallers(() => everywhere) };

const url = ({ gateway }: Awaited<ReturnType<typeof compose>>, target = path) =>
  `${gateway.url}${target}`;

async function read(address: string, headers: Record<string, string> = {}) {
  const response = await fetch(address, { headers: { ...withKey.headers, ...headers } });
  return { response, text: await response.text() };
}

/** Members of a log line without those that differ from one request to the next. */
function namesOf(line: string): string[] {
  return Object.keys(JSON.parse(line) as object).sort();
}

describe('a plain read is answered as the app answers it', () => {
  it.each([
    ['from memory', 2],
    ['by a SELECT', 1],
  ])('%s', async (_what, reads) => {
    const composed = await compose({ ...cached, ...known, databaseClock: stoppedDatabaseClock });
    if (reads === 2) await read(url(composed));
    composed.lines.length = 0;
    const direct = await read(url(composed));
    const ofDirect = composed.lines.splice(0);
    const byApp = await read(url(composed, throughApp));
    const ofApp = composed.lines.splice(0);

    expect(direct.response.status).toBe(200);
    expect(direct.text).toBe(byApp.text);
    const headers = (answer: typeof direct) =>
      [...answer.response.headers].map(([name, value]) =>
        ['date', 'x-request-id', 'traceparent'].includes(name) ? name : `${name}: ${value}`,
      );
    expect(headers(direct).sort()).toEqual(headers(byApp).sort());
    expect(ofDirect).toHaveLength(1);
    expect(ofDirect.map(namesOf).sort()).toEqual(ofApp.map(namesOf).sort());
    const stable = (line: string) => {
      const { action, outcome, caller, client_address, connection_id, method, route, status } =
        JSON.parse(line) as Record<string, unknown>;
      return { action, outcome, caller, client_address, connection_id, method, route, status };
    };
    expect(ofDirect.map(stable)).toEqual(expect.arrayContaining(ofApp.map(stable)));
  });

  it.each([
    '?wait_seconds=0',
    '?wait_seconds=60&min_ttl_seconds=600',
    '?min_ttl_seconds=86400&min_token_version=7&wait_seconds=1',
    '?min_ttl_seconds=86401',
    '?wait_seconds=61',
    '?wait_seconds=1&wait_seconds=2',
    '?wait_seconds=01',
    '?wait_seconds=',
    '?wait_seconds',
    '?wait_seconds=1=1',
    '?min_ttl_seconds=-1',
    '?min_token_version=9',
    '?min_token_version=99999999999999999999',
    '?unknown=1',
    '?=1',
    '?',
    '?&wait_seconds=1',
  ])('and with the query %s', async (query) => {
    const direct = await compose({ ...cached, ...known });
    const answer = async (app: Awaited<ReturnType<typeof compose>>, target: string) => {
      app.engine.respond = () => Promise.resolve(refreshRow(app.rows));
      const { response, text } = await read(url(app, target));
      const { detail, errors, code, token_version, refreshed } = JSON.parse(text) as Record<
        string,
        unknown
      >;
      return [
        response.status,
        code,
        detail,
        errors,
        token_version,
        refreshed,
        app.engine.calls.length,
      ];
    };
    const apart = await compose({ ...cached, ...known, debugRequests: 'always' });
    expect(await answer(direct, `${path}${query}`)).toEqual(await answer(apart, `${path}${query}`));
  });

  it('and counted once each', async () => {
    const composed = await compose({ ...cached, ...known });
    await read(url(composed));
    await read(url(composed));
    await read(url(composed, throughApp));
    const { body } = await composed.metrics.page();
    expect(body).toMatch(/http_requests_total\{method="GET",route="[^"]+token",status="200".*\} 3/);
    expect(body).toMatch(/http_request_duration_seconds_count\{.*status="200".*\} 3/);
    expect(body).toMatch(/token_reads_total\{source="store".*\} 1/);
    expect(body).toMatch(/token_reads_total\{source="cache".*\} 2/);
  });

  it('with the caller’s request id and trace', async () => {
    const composed = await compose({ ...cached, ...known });
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const { response } = await read(url(composed), { 'X-Request-Id': 'r-1', traceparent });
    expect(response.headers.get('X-Request-Id')).toBe('r-1');
    expect(response.headers.get('traceparent')).toBe(traceparent);
    expect(composed.lines.join('')).toContain('"request_id":"r-1"');
  });
});

describe('a plain read of an expired token', () => {
  const expiredRow = { ...cached, ...known, row: connectionRow(expired) };

  it('is answered once it was refreshed, and told of once', async () => {
    const composed = await compose(expiredRow);
    composed.engine.respond = () => Promise.resolve(refreshRow(composed.rows));
    const { response, text } = await read(url(composed));
    expect(response.status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ refreshed: true, token_version: 8 });
    expect(composed.lines.filter((line) => line.includes('"audit":true'))).toHaveLength(1);
    expect((await composed.metrics.page()).body).toMatch(
      /token_reads_total\{source="refresh".*\} 1/,
    );
  });

  it('tells of a problem as one request, from its arrival on', async () => {
    const composed = await compose(expiredRow);
    const reading = read(url(composed), { 'X-Request-Id': 'r-2' });
    await vi.waitFor(() => expect(composed.engine.calls).toHaveLength(1));
    await sleep(50);
    composed.engine.calls[0]?.reject(new TokenManagerError('refresh_engine_unavailable'));
    const { response, text } = await reading;
    expect([response.status, response.headers.get('X-Request-Id')]).toEqual([503, 'r-2']);
    expect(text).toContain('refresh_engine_unavailable');
    const requests = composed.lines.filter((line) => line.includes('"msg":"request"'));
    const [line] = requests.map((written) => JSON.parse(written) as Record<string, unknown>);
    expect(requests).toHaveLength(1);
    expect(line?.['request_id']).toBe('r-2');
    expect(line?.['trace_id']).toBe(response.headers.get('traceparent')?.split('-')[1]);
    expect(line?.['duration_ms']).toBeGreaterThanOrEqual(45);
    expect(composed.engine.calls).toHaveLength(1);
  });

  it('goes on for others when its caller goes away', async () => {
    const composed = await compose(expiredRow);
    const leaver = new AbortController();
    const left = fetch(url(composed), { ...withKey, signal: leaver.signal }).catch(() => 'left');
    const stays = read(url(composed));
    await vi.waitFor(() => expect(composed.engine.calls).toHaveLength(1));
    leaver.abort();
    expect(await left).toBe('left');
    await vi.waitFor(() =>
      expect(composed.lines.join('')).toContain('"problem":"refresh_in_progress"'),
    );
    composed.engine.calls[0]?.resolve(refreshRow(composed.rows));
    expect((await stays).response.status).toBe(200);
  });
});

describe('everything else is left to the app', () => {
  it.each([
    ['no key', { Authorization: '' }, 401, 'unauthenticated'],
    ['a key of nobody', { Authorization: 'Bearer tm_nobody' }, 401, 'unauthenticated'],
  ])('%s', async (_what, headers, status, code) => {
    const composed = await compose({ ...cached, ...known });
    await read(url(composed));
    const { response, text } = await read(url(composed), headers);
    expect(response.status).toBe(status);
    expect(text).toContain(code);
    expect(response.headers.get('WWW-Authenticate')).toContain('Bearer');
  });

  it('a caller without the scope, and one of another tenant, even if memory has it', async () => {
    const scopeless = policy({ scopes: ['connections:read'] });
    const scoped = await compose({ ...cached, callers: createKeyCallers(() => scopeless) });
    expect((await read(url(scoped))).text).toContain('"forbidden"');
    let current = everywhere;
    const composed = await compose({ ...cached, callers: createKeyCallers(() => current) });
    expect((await read(url(composed))).response.status).toBe(200);
    current = policy({ tenants: ['t2'] });
    const { response, text } = await read(url(composed));
    expect(response.status).toBe(404);
    expect(text).toContain('connection_not_found');
  });

  it('a connection that is not there, and a store that is away', async () => {
    const composed = await compose({ ...known });
    expect((await read(url(composed, '/v1/connections/c9/token'))).response.status).toBe(404);
    composed.state.readsFail = new TokenManagerError('store_unavailable');
    expect((await read(url(composed))).response.status).toBe(503);
  });

  it('a request that may be logged at length', async () => {
    const composed = await compose({ ...cached, ...known, debugRequests: 'asked' });
    await read(url(composed), { 'X-Debug-Request': 'true' });
    expect(composed.lines.join('')).toContain('"debug_request":true');
    await read(url(composed));
    expect(composed.lines.filter((line) => line.includes('"debug_request":true'))).toHaveLength(1);
  });
});
