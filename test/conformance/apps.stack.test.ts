import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  startScriptedTokenEndpoint,
  type ReceivedRequest,
  type ScriptedTokenEndpoint,
  type Step,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

let stack: TestStack;
const endpoints: ScriptedTokenEndpoint[] = [];

beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(async () => {
  await stack.close();
  await Promise.all(endpoints.map((endpoint) => endpoint.close()));
});

/** A provider of its own with one app, and connections whose access tokens have expired. */
async function startProvider(
  count: number,
  options: {
    overrides?: Record<string, unknown>;
    respond?: (request: ReceivedRequest) => Step | undefined;
  } = {},
) {
  const { respond } = options;
  const endpoint = await startScriptedTokenEndpoint(respond === undefined ? {} : { respond });
  endpoints.push(endpoint);
  const appId = await stack.addApp(endpoint.url, options.overrides);
  const ids: string[] = [];
  for (let index = 0; index < count; index += 1) {
    ids.push(await stack.addConnection(appId, endpoint.grant()));
  }
  return { endpoint, appId, ids };
}

async function putSecrets(appId: string, url: string, ...secrets: string[]): Promise<void> {
  const answer = await stack.call('PUT', `/v1/apps/${appId}`, {
    provider: 'generic',
    client_id: 'client',
    client_secrets: secrets,
    overrides: { token_url: url },
  });
  expect(answer.status).toBe(200);
}

/** Refuses every client secret but one. */
function refuseClients(headers: Record<string, string> = {}) {
  const refusal = { status: 401, headers, body: { error: 'invalid_client' } };
  return ({ params }: ReceivedRequest) =>
    params['client_secret'] === 'right' ? undefined : refusal;
}

describe('an app that its provider refuses', () => {
  it.each([
    ['with', { 'www-authenticate': 'Basic realm="provider"' }],
    ['without', {}],
  ])(
    'R25 401 invalid_client %s WWW-Authenticate: no more than two sends, then all refresh once',
    async (_name, headers) => {
      const { endpoint, appId, ids } = await startProvider(20, {
        respond: refuseClients(headers),
      });
      const [first = '', ...others] = ids;
      expect((await stack.getToken(first)).body).toMatchObject({ code: 'app_misconfigured' });
      const afterFirst = endpoint.requests.length;

      const answers = await Promise.all(
        others.flatMap((id) => [
          stack.getToken(id),
          stack.refresh(id, { force: true }),
          stack.getToken(id, '?wait_seconds=3'),
        ]),
      );
      for (const { body } of answers) {
        expect(body).toMatchObject({ status: 409, code: 'app_misconfigured', remedy: 'fix_app' });
      }
      expect(endpoint.requests.length - afterFirst).toBeLessThanOrEqual(2);
      for (const id of ids) {
        const { body } = await stack.call('GET', `/v1/connections/${id}`);
        expect(body).toMatchObject({ status: 'active', reason: 'app_misconfigured' });
      }
      const { body: app } = await stack.call('GET', `/v1/apps/${appId}`);
      expect(app).toMatchObject({ paused_reason: 'invalid_client' });
      const { rows: events } = await stack.database.pool.query<{ type: string }>(
        'select type from events where app_id = $1',
        [appId],
      );
      expect(events).toEqual([{ type: 'app.misconfigured' }]);

      const sentBefore = endpoint.requests.length;
      await putSecrets(appId, endpoint.url, 'right');
      // Those that were refused come back spread by jitter, and one goes first.
      await expect
        .poll(
          async () => {
            const tokens = await Promise.all(
              ids.map((id) => stack.getToken(id, '?wait_seconds=20')),
            );
            return tokens.filter(({ status }) => status === 200).length;
          },
          { timeout: 60_000 },
        )
        .toBe(ids.length);
      expect(endpoint.requests.length - sentBefore).toBe(ids.length);
      expect(endpoint.truth()).toMatchObject({ exchanges: ids.length, reuse: 0 });
    },
    120_000,
  );

  it('is tried with each client secret in order, and keeps to the one that works', async () => {
    const { endpoint, appId, ids } = await startProvider(3, { respond: refuseClients() });
    await putSecrets(appId, endpoint.url, 'next', 'right', 'wrong');
    for (const id of ids) expect((await stack.getToken(id, '?wait_seconds=20')).status).toBe(200);
    const shown = endpoint.requests.map(({ params }) => params['client_secret']);
    expect(shown).toEqual(['next', 'right', 'right', 'right']);
    expect(endpoint.truth()).toMatchObject({ exchanges: 3, reuse: 0 });
  });
});

describe('a provider that limits', () => {
  it('refreshes of one refresh token is asked no more often, whoever demands it', async () => {
    const { endpoint, ids } = await startProvider(1, {
      overrides: { limits: { per_window: { count: 3, seconds: 600 }, min_interval_seconds: 0 } },
    });
    const [id = ''] = ids;
    for (let round = 0; round < 3; round += 1) {
      expect((await stack.getToken(id)).status).toBe(200);
      await stack.expire(id);
    }
    for (const answer of [await stack.getToken(id), await stack.refresh(id, { force: true })]) {
      expect(answer.body).toMatchObject({ status: 503, code: 'provider_rate_limited' });
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(500);
    }
    expect(endpoint.requests).toHaveLength(3);
  });

  it('with 429 stops every connection of the app at once', async () => {
    const { endpoint, ids } = await startProvider(10);
    endpoint.script({
      status: 429,
      headers: { 'retry-after': '40' },
      body: { error: 'slow_down' },
    });
    const [first = '', ...others] = ids;
    expect((await stack.getToken(first)).body).toMatchObject({ code: 'provider_rate_limited' });
    for (const answer of await Promise.all(others.map((id) => stack.getToken(id)))) {
      expect(answer.body).toMatchObject({ status: 503, code: 'provider_rate_limited' });
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(20);
    }
    expect(endpoint.requests).toHaveLength(1);
  });

  it('callers who force a valid token is asked six times a minute, counted in PostgreSQL', async () => {
    const { endpoint, ids } = await startProvider(1, {
      overrides: { limits: { min_interval_seconds: 0 } },
    });
    const [id = ''] = ids;
    expect((await stack.getToken(id)).status).toBe(200);
    const codes: unknown[] = [];
    for (let round = 0; round < 8; round += 1) {
      const { status, body } = await stack.refresh(id, { force: true });
      codes.push(status === 200 ? 200 : body['code']);
    }
    expect(codes).toEqual([
      ...Array.from({ length: 6 }, () => 200),
      'refresh_limited',
      'refresh_limited',
    ]);
    const forced = await stack.database.pool.query<{ count: number }>(
      'select cardinality(forced_sends) as count from connections where id = $1',
      [id],
    );
    expect(forced.rows).toEqual([{ count: 6 }]);
    expect(endpoint.requests).toHaveLength(7);
  });
});

describe('a provider that is down', () => {
  it('is left alone after failures of several connections, whatever the callers do', async () => {
    const { endpoint, ids } = await startProvider(12);
    endpoint.script(
      ...Array.from({ length: 100 }, () => ({ status: 503, body: { error: 'down' } })),
    );
    const stopAt = performance.now() + 6_000;
    let calls = 0;
    await Promise.all(
      ids.map(async (id) => {
        while (performance.now() < stopAt) {
          const { body } = await stack.getToken(id, '?wait_seconds=1');
          calls += 1;
          expect(body).toMatchObject({ status: 503, retryable: true });
          await sleep(20);
        }
      }),
    );
    expect(calls).toBeGreaterThan(40);
    expect(endpoint.requests.length).toBeLessThan(25);
  });
});
