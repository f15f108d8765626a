import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { findFreePort } from '../../dev/ports.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let elsewhere: ScriptedTokenEndpoint;
let appId: string;

beforeAll(async () => {
  [stack, endpoint, elsewhere] = await Promise.all([
    startTestStack(),
    startScriptedTokenEndpoint(),
    startScriptedTokenEndpoint(),
  ]);
  appId = await stack.addApp(endpoint.url);
});
afterAll(async () => {
  await stack.close();
  await Promise.all([endpoint.close(), elsewhere.close()]);
});

afterEach(() => {
  endpoint.clearScript();
});

const fresh = { access_token: 'at-new', token_type: 'Bearer', expires_in: 3600 };

function lifetimeSecondsOf(body: Record<string, unknown>): number {
  return (Date.parse(String(body['expires_at'])) - Date.now()) / 1_000;
}

describe('answers of a provider', () => {
  it.each([
    ['R08 an answer without a refresh token', {}],
    ['R09 an answer with an empty refresh token', { refresh_token: '' }],
    ['R09 an answer with refresh_token null', { refresh_token: null }],
  ])('%s leaves the old one in force', async (_name, members) => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted);
    endpoint.script({ body: { ...fresh, ...members } }, { body: { ...fresh, ...members } });
    expect((await stack.getToken(id)).status).toBe(200);
    await stack.expire(id);
    expect((await stack.getToken(id)).body).toMatchObject({ token_version: 3 });
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(2);
    const lines = stack.logText().split('\n');
    const isWarned = lines.some(
      (line) => line.includes(id) && /refresh_token_(empty|null)/.test(line),
    );
    expect(isWarned).toBe('refresh_token' in members);
  });

  it('R11 no expires_in takes the default of the definition, recorded as assumed', async () => {
    const app = await stack.addApp(endpoint.url, {
      expiry: { default_ttl_seconds: 3600, skew_seconds: 60 },
    });
    const id = await stack.addConnection(app, endpoint.grant());
    endpoint.script({ body: { access_token: 'at', token_type: 'Bearer' } });
    const { body } = await stack.getToken(id);
    expect(Math.abs(lifetimeSecondsOf(body) - 3_540)).toBeLessThan(5);
    const { rows } = await stack.database.pool.query<{ expiry_assumed: boolean }>(
      'select expiry_assumed from connections where id = $1',
      [id],
    );
    expect(rows).toEqual([{ expiry_assumed: true }]);
  });

  it.each([0, -1, 1e12, 'NaN'])(
    'R13 expires_in %s is clamped, and sends stay a second apart',
    async (expiresIn) => {
      const granted = endpoint.grant();
      const id = await stack.addConnection(appId, granted);
      const answer = { body: { ...fresh, expires_in: expiresIn } };
      endpoint.script(answer, answer, answer, answer, answer, answer);
      const startedAt = Date.now();
      const before = endpoint.requests.length;
      for (let reads = 0; reads < 4; reads += 1) await stack.refresh(id, { force: true });
      const sends = endpoint.requests.length - before;
      expect(sends).toBe(4);
      expect(Date.now() - startedAt).toBeGreaterThanOrEqual(2_900);
    },
  );

  it('R14 unknown members are ignored and a token of 8 KiB is stored whole', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    const accessToken = 'a'.repeat(8 * 1_024);
    endpoint.script({ body: { ...fresh, access_token: accessToken, unknown: { deep: [1] } } });
    expect((await stack.getToken(id)).body['access_token']).toBe(accessToken);
  });

  it('R22 invalid_grant ends the connection: no further send, 409 with the reason', async () => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted);
    endpoint.script({ status: 400, body: { error: 'invalid_grant' } });
    const callers = await Promise.all([1, 2, 3].map(() => stack.getToken(id)));
    for (const answer of [
      ...callers,
      await stack.getToken(id),
      await stack.refresh(id, { force: true }),
    ]) {
      expect(answer.status).toBe(409);
      expect(answer.body).toMatchObject({
        code: 'reauthorization_required',
        reason: 'revoked',
        remedy: 'reauthorize',
        retryable: false,
      });
    }
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
    expect((await stack.call('GET', `/v1/connections/${id}`)).body).toMatchObject({
      status: 'reauthorization_required',
      reason: 'revoked',
    });
    const { rows } = await stack.database.pool.query(
      'select type from events where connection_id = $1',
      [id],
    );
    expect(rows).toEqual([{ type: 'connection.reauthorization_required' }]);
  });

  it('serves the old token while it is valid after invalid_grant', async () => {
    const id = await stack.addConnection(appId, endpoint.grant(), { expires_in: 600 });
    endpoint.script({ status: 400, body: { error: 'invalid_grant' } });
    expect((await stack.refresh(id, { force: true })).status).toBe(409);
    expect((await stack.getToken(id)).body).toMatchObject({
      token_version: 1,
      connection_status: 'reauthorization_required',
    });
  });

  it('a PUT with new tokens ends the verdict', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    endpoint.script({ status: 400, body: { error: 'invalid_grant' } });
    await stack.getToken(id);
    const again = endpoint.grant();
    const put = await stack.call('PUT', `/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: appId,
      refresh_token: again.refreshToken,
    });
    expect(put.body).toMatchObject({ status: 'active' });
    expect((await stack.getToken(id)).status).toBe(200);
  });

  it('R28 a 503 and then a 200 is one refresh with the same refresh token', async () => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted);
    endpoint.script({ status: 503, body: { error: 'temporarily_unavailable' } });
    expect((await stack.getToken(id)).body).toMatchObject({ token_version: 2, refreshed: true });
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(2);
  });

  it.each([
    ['R29 a refused connection', async () => `http://127.0.0.1:${await findFreePort()}/token`],
    ['R29 a name that does not resolve', () => Promise.resolve('https://provider.invalid/token')],
  ])(
    '%s is retried and is not ambiguous',
    async (_name, tokenUrl) => {
      const app = await stack.addApp(await tokenUrl());
      const id = await stack.addConnection(app, endpoint.grant());
      const answer = await stack.getToken(id, '?wait_seconds=3');
      expect(answer.body).toMatchObject({ status: 503, code: 'provider_unavailable' });
      expect(answer.headers.get('retry-after')).not.toBeNull();
      const { body } = await stack.call('GET', `/v1/connections/${id}`);
      expect(body).toMatchObject({ status: 'active', last_failure: { class: 'transient' } });
      // The provider comes back: nothing was spent, so the grant lives.
      await stack.call('PUT', `/v1/apps/${app}`, {
        provider: 'generic',
        client_id: 'client',
        client_secrets: ['again'],
        overrides: { token_url: endpoint.url },
      });
      await stack.database.pool.query(
        'update connections set next_attempt_at = null where id = $1',
        [id],
      );
      expect((await stack.getToken(id, '?wait_seconds=40')).status).toBe(200);
    },
    60_000,
  );

  it.each([
    'https://localhost/token',
    'https://169.254.169.254/token',
    'https://[::ffff:10.0.0.1]/token',
  ])('R47 a token URL at %s is refused, and the refresh token is not spent', async (tokenUrl) => {
    const app = await stack.addApp(tokenUrl);
    const granted = endpoint.grant();
    const id = await stack.addConnection(app, granted);
    const answer = await stack.getToken(id);
    expect(answer.body).toMatchObject({ status: 409, code: 'egress_refused', remedy: 'fix_app' });
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(0);
    const { rows } = await stack.database.pool.query(
      'select attempt::int, verdict from connections where id = $1',
      [id],
    );
    expect(rows).toEqual([{ attempt: 0, verdict: null }]);
  });

  it('R48 a 307 is not followed: misconfigured, and the other host sees nothing', async () => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted);
    endpoint.script({ status: 307, headers: { location: elsewhere.url }, body: '' });
    expect((await stack.getToken(id)).body).toMatchObject({
      status: 409,
      code: 'app_misconfigured',
    });
    expect(elsewhere.truth()).toMatchObject({ connections: 0, bytesReceived: 0 });
    expect((await stack.call('GET', `/v1/connections/${id}`)).body).toMatchObject({
      status: 'active',
    });
  });

  it('a class F connection without an answer is uncertain, and is not sent again', async () => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted, { expires_in: 3_600 });
    endpoint.script({ drop: { how: 'reset', when: 'after' } });
    for (let round = 0; round < 2; round += 1) {
      const { body } = await stack.refresh(id, { force: true });
      expect(body).toMatchObject({ status: 503, code: 'refresh_uncertain' });
    }
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
    expect((await stack.getToken(id)).body).toMatchObject({
      access_token: granted.accessToken,
      connection_status: 'uncertain',
    });
  });

  it('a new refresh token inside a broken answer is kept, and serves the next exchange', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    const rotated = endpoint.grant();
    endpoint.script({ body: { refresh_token: rotated.refreshToken, token_type: 'Bearer' } });
    expect((await stack.getToken(id)).body).toMatchObject({ token_version: 2 });
    expect(endpoint.sendsOf(rotated.refreshToken)).toBe(1);
  });
});
