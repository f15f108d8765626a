import { createServer } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createDemoProvider } from '../../dev/demo-provider/create-demo-provider.ts';
import { createGrantStore } from '../../dev/demo-provider/grant-store.ts';
import { findFreePort } from '../../dev/ports.ts';
import {
  startScriptedTokenEndpoint,
  type ReceivedRequest,
  type ScriptedTokenEndpoint,
  type Step,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type Answer, type TestStack } from '../support/test-stack.ts';
import type { FamilyRotation } from '../support/token-family.ts';

const mebibyte = 1_024 * 1_024;
const fresh = { access_token: 'at-new', token_type: 'Bearer', expires_in: 3600 };

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let appId: string;
const closings: (() => void | Promise<void>)[] = [];

beforeAll(async () => {
  [stack, endpoint] = await Promise.all([startTestStack(), startScriptedTokenEndpoint()]);
  appId = await stack.addApp(endpoint.url);
});
afterEach(() => {
  endpoint.clearScript();
});
afterAll(async () => {
  await stack.close();
  await endpoint.close();
  for (const close of closings) await close();
});

/** An endpoint of a rotation class, and a connection of an app that is registered as such. */
async function startProvider(
  rotation: FamilyRotation,
  options: {
    overrides?: Record<string, unknown>;
    members?: Record<string, unknown>;
    steps?: Step[];
  } = {},
): Promise<{ id: string; refreshToken: string; own: ScriptedTokenEndpoint }> {
  const own = await startScriptedTokenEndpoint({ rotation });
  closings.push(() => own.close());
  const app = await stack.addApp(own.url, {
    rotation: { class: rotation },
    ...options.overrides,
  });
  const granted = own.grant();
  const id = await stack.addConnection(app, granted, options.members);
  own.script(...(options.steps ?? []));
  return { id, refreshToken: granted.refreshToken, own };
}

async function connectionOf(id: string): Promise<Record<string, unknown>> {
  return (await stack.call('GET', `/v1/connections/${id}`)).body;
}

async function rowsOf<Row extends object>(sql: string, id: string): Promise<Row[]> {
  return (await stack.database.pool.query<Row>(sql, [id])).rows;
}

/** Class and code of the attempts that brought no tokens, oldest first. */
function failuresOf(id: string) {
  return rowsOf<{ class: string; code: string; duration_ms: number }>(
    `select class, code, duration_ms from refresh_log
     where connection_id = $1 and class is not null order by id`,
    id,
  );
}

function expectVerdict(answers: Answer[]): void {
  for (const answer of answers) {
    expect(answer.status).toBe(409);
    expect(answer.body).toMatchObject({
      code: 'reauthorization_required',
      reason: 'revoked',
      remedy: 'reauthorize',
    });
  }
}

describe('a token inside its margin', () => {
  it('R05 is answered at once, however long its one background refresh takes', async () => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted, { expires_in: 3600 });
    await rowsOf(
      `update connections set expires_at = now() + interval '60 seconds', refresh_due_at = now()
       where id = $1`,
      id,
    );
    let release = (): void => undefined;
    const hold = new Promise<void>((resolve) => (release = resolve));
    endpoint.script({ hold });
    const arrived = endpoint.waitForRequests(endpoint.requests.length + 1);
    const callers = await Promise.all(Array.from({ length: 20 }, () => stack.getToken(id)));
    for (const { status, body } of callers) {
      expect(status).toBe(200);
      expect(body).toMatchObject({
        access_token: granted.accessToken,
        token_version: 1,
        refreshed: false,
      });
    }
    await arrived;
    expect((await stack.getToken(id)).body).toMatchObject({ token_version: 1 });
    release();
    await expect
      .poll(async () => (await stack.getToken(id)).body['token_version'], { timeout: 10_000 })
      .toBe(2);
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
    expect(
      await rowsOf('select outcome, trigger from refresh_log where connection_id = $1', id),
    ).toEqual([{ outcome: 'refreshed', trigger: 'background' }]);
  });
});

describe('success in many shapes', () => {
  const inAnHour = (): number => Date.now() + 3_600_000;
  it.each<[string, () => Record<string, unknown>]>([
    ['expires_in 3600', () => ({ expires_in: 3600 })],
    ['expires_in "3600"', () => ({ expires_in: '3600' })],
    ['expires_at in ISO 8601', () => ({ expires_at: new Date(inAnHour()).toISOString() })],
    ['expires_at in seconds', () => ({ expires_at: Math.round(inAnHour() / 1_000) })],
    ['expires_at in milliseconds', () => ({ expires_at: inAnHour() })],
  ])('R12 %s is the same expiry', async (_name, expiry) => {
    const id = await stack.addConnection(appId, endpoint.grant());
    const earliestMs = inAnHour() - 2_000;
    endpoint.script({ body: { access_token: 'at', token_type: 'Bearer', ...expiry() } });
    const { body } = await stack.getToken(id);
    const expiresAtMs = Date.parse(String(body['expires_at']));
    expect(expiresAtMs).toBeGreaterThan(earliestMs);
    expect(expiresAtMs).toBeLessThan(inAnHour() + 2_000);
    expect(await rowsOf('select expiry_assumed from connections where id = $1', id)).toEqual([
      { expiry_assumed: false },
    ]);
  });

  it('R17 a form-encoded answer is parsed, and its refresh token serves the next exchange', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    const rotated = endpoint.grant();
    const form = new URLSearchParams({
      access_token: 'at form+%',
      refresh_token: rotated.refreshToken,
      expires_in: '3600',
      token_type: 'bearer',
      scope: 'a b',
    });
    endpoint.script({
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: form.toString(),
    });
    expect((await stack.getToken(id)).body).toMatchObject({
      access_token: 'at form+%',
      token_type: 'bearer',
      scope: 'a b',
      token_version: 2,
    });
    await stack.expire(id);
    expect((await stack.getToken(id)).body).toMatchObject({ token_version: 3 });
    expect(endpoint.sendsOf(rotated.refreshToken)).toBe(1);
  });

  it('a response map finds nested members under names of the provider', async () => {
    const app = await stack.addApp(endpoint.url, {
      response: {
        success_status: [201],
        access_token: '/data/tokens/access',
        refresh_token: '/data/tokens/refresh',
        expires_in: { pointer: '/data/validity', unit: 'milliseconds' },
        scope: '/data/scopes',
        metadata: ['/data/region'],
      },
    });
    const rotated = endpoint.grant();
    const id = await stack.addConnection(app, endpoint.grant());
    const data = {
      tokens: { access: 'at-nested', refresh: rotated.refreshToken },
      validity: 600_000,
      scopes: ['a', 'b'],
      region: 'eu',
    };
    endpoint.script({ status: 201, body: { data } });
    const { body } = await stack.getToken(id);
    expect(body).toMatchObject({
      access_token: 'at-nested',
      scope: 'a b',
      metadata: { region: 'eu' },
    });
    expect(Math.abs(Number(body['expires_in']) - 600)).toBeLessThan(3);
    await stack.expire(id);
    endpoint.script({ status: 201, body: { data } });
    await stack.getToken(id);
    expect(endpoint.sendsOf(rotated.refreshToken)).toBe(1);
  });
});

describe('verdicts in many shapes', () => {
  /** R22's promises: no further send, the same problem for everybody, one event. */
  async function expectEnd(app: string, step: Step): Promise<void> {
    const granted = endpoint.grant();
    const id = await stack.addConnection(app, granted);
    endpoint.script(step);
    expectVerdict(await Promise.all([stack.getToken(id), stack.getToken(id)]));
    expectVerdict([await stack.getToken(id), await stack.refresh(id, { force: true })]);
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
    expect(await connectionOf(id)).toMatchObject({ status: 'reauthorization_required' });
    expect(await rowsOf('select type from events where connection_id = $1', id)).toEqual([
      { type: 'connection.reauthorization_required' },
    ]);
  }

  it('R16 HTTP 200 with ok:false and a permanent code is a verdict', async () => {
    const app = `slack-${Math.random().toString(36).slice(2)}`;
    await stack.call('PUT', `/v1/apps/${app}`, {
      provider: 'slack',
      client_id: 'client',
      client_secrets: ['secret'],
      overrides: { token_url: endpoint.url, allowed_hosts: ['127.0.0.1'] },
    });
    await expectEnd(app, { body: { ok: false, error: 'invalid_refresh_token' } });
  });

  it('an answer that its success predicate refuses is none, whatever token it holds', async () => {
    const app = await stack.addApp(endpoint.url, {
      response: { success_when: { pointer: '/ok', equals: true } },
    });
    const granted = endpoint.grant();
    const id = await stack.addConnection(app, granted);
    endpoint.script({ body: { ...fresh, access_token: 'at-refused', ok: false } });
    endpoint.script({ body: { ...fresh, ok: true } });
    // What was answered may have spent the token, so the replay waits for five seconds of settling.
    const answer = await stack.getToken(id, '?wait_seconds=60');
    expect(answer.body).toMatchObject({ access_token: 'at-new' });
    expect(await failuresOf(id)).toMatchObject([{ class: 'protocol_break', code: 'http_200' }]);
  });

  it('R23 invalid_grant at 403 is a verdict', async () => {
    await expectEnd(appId, { status: 403, body: { error: 'invalid_grant' } });
  });

  it('R23 a 400 without an error, but mapped by the definition, is a verdict', async () => {
    const app = await stack.addApp(endpoint.url, {
      errors: [
        {
          when: { status: 400, pointer: '/detail/state', equals: 'TOKEN_GONE' },
          class: 'permanent',
        },
      ],
    });
    await expectEnd(app, { status: 400, body: { detail: { state: 'TOKEN_GONE' } } });
  });

  it('an error map makes a retry of what would be a verdict', async () => {
    const app = await stack.addApp(endpoint.url, {
      errors: [
        { when: { code: 'invalid_grant', message_regex: 'in progress' }, class: 'transient' },
      ],
    });
    const granted = endpoint.grant();
    const id = await stack.addConnection(app, granted);
    const body = { error: 'invalid_grant', error_description: 'Refresh in progress' };
    endpoint.script({ status: 400, body });
    const { body: answer } = await stack.getToken(id, '?wait_seconds=60');
    expect(answer).toMatchObject({ token_version: 2 });
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(2);
  });
});

describe('R18 the way the client names itself', () => {
  const secret = 'a:b%+ ü';
  const clientId = 'client:1 ü';

  async function receive(definition: Record<string, unknown>): Promise<ReceivedRequest> {
    const app = `app-${Math.random().toString(36).slice(2)}`;
    await stack.call('PUT', `/v1/apps/${app}`, {
      provider: 'generic',
      client_id: clientId,
      client_secrets: [secret],
      overrides: { token_url: endpoint.url, ...definition },
    });
    const id = await stack.addConnection(app, endpoint.grant());
    expect((await stack.getToken(id)).status).toBe(200);
    const request = endpoint.requests.at(-1);
    if (request === undefined) throw new Error('no request arrived');
    return request;
  }
  const pairOf = ({ headers }: ReceivedRequest): string => {
    const encoded = /^Basic (.*)$/.exec(headers['authorization'] ?? '')?.[1] ?? '';
    return Buffer.from(encoded, 'base64').toString('utf8');
  };

  it('basic, strict: form-encoded, and nothing in the body', async () => {
    const request = await receive({ client_auth: 'basic' });
    // RFC 6749 §2.3.1, decoded as a server would: at the first colon, then each half for itself.
    const [, id = '', password = ''] = /^([^:]*):(.*)$/.exec(pairOf(request)) ?? [];
    const decode = (text: string): string => decodeURIComponent(text.replaceAll('+', ' '));
    expect([decode(id), decode(password)]).toEqual([clientId, secret]);
    expect(Object.keys(request.params).sort()).toEqual(['grant_type', 'refresh_token']);
  });

  it('basic, raw: as they are, and nothing in the body', async () => {
    const request = await receive({ client_auth: 'basic', basic_encoding: 'raw' });
    expect(pairOf(request)).toBe(`${clientId}:${secret}`);
    expect(Object.keys(request.params).sort()).toEqual(['grant_type', 'refresh_token']);
  });

  it('post: in the body, and no Authorization header', async () => {
    const request = await receive({ client_auth: 'post' });
    expect(request.params).toMatchObject({ client_id: clientId, client_secret: secret });
    expect(request.headers).not.toHaveProperty('authorization');
  });

  it('an authorization server that decodes by the RFC accepts strict and refuses raw', async () => {
    const port = await findFreePort();
    const issuer = `http://127.0.0.1:${port}`;
    // No ü here: this server takes the characters of RFC 6749 appendix A only.
    const client = { id: 'client:1 x', secret: 'a:b%+ x' };
    const store = createGrantStore({ nowMs: () => Date.now() });
    const provider = createDemoProvider({ issuer, store, client });
    const server = createServer(provider.handler);
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    closings.push(() => {
      server.closeAllConnections();
      server.close();
    });
    const answers = [];
    for (const basic_encoding of ['strict', 'raw']) {
      const app = `app-${basic_encoding}-${port}`;
      await stack.call('PUT', `/v1/apps/${app}`, {
        provider: 'generic',
        client_id: client.id,
        client_secrets: [client.secret],
        overrides: { token_url: `${issuer}/token`, client_auth: 'basic', basic_encoding },
      });
      const grant = await provider.createGrant(app);
      const id = await stack.addConnection(app, {
        accessToken: grant.access_token,
        refreshToken: grant.refresh_token,
      });
      answers.push(await stack.getToken(id));
    }
    const [strict, raw] = answers;
    expect(strict?.body).toMatchObject({ token_version: 2, refreshed: true });
    // Refused for what the app is, and so nothing of the customer's is blamed or spent.
    expect(raw?.body).toMatchObject({ code: 'app_misconfigured' });
  });
});

describe('answers that are lost', () => {
  const lost: Step = { drop: { how: 'close', when: 'after' } };

  it.each(['S', 'L'] as const)(
    'R30 class %s: what the provider did although its answer was lost does no harm to the replay',
    async (rotation) => {
      const { id, refreshToken, own } = await startProvider(rotation, { steps: [lost] });
      const { body } = await stack.getToken(id, '?wait_seconds=30');
      expect(body).toMatchObject({ token_version: 2, connection_status: 'active' });
      expect(own.truth()).toMatchObject({ exchanges: 2, reuse: 0 });
      expect(own.sendsOf(refreshToken)).toBe(2);
      expect(await failuresOf(id)).toMatchObject([{ class: 'ambiguous' }]);
      await stack.expire(id);
      expect((await stack.getToken(id)).body).toMatchObject({ token_version: 3 });
      expect(own.truth()).toMatchObject({ exchanges: 3, reuse: 0 });
    },
  );

  it('R34 class C: the third send stores its pair, and the next generation works with it', async () => {
    const { id, refreshToken, own } = await startProvider('C', { steps: [lost, lost] });
    const { body } = await stack.getToken(id, '?wait_seconds=30');
    expect(body).toMatchObject({ token_version: 2, connection_status: 'active' });
    expect(own.sendsOf(refreshToken)).toBe(3);
    expect(await failuresOf(id)).toMatchObject([{ class: 'ambiguous' }, { class: 'ambiguous' }]);
    // From its first use on the old refresh token is dead, and so are the two pairs that were lost.
    own.useAccessToken(String(body['access_token']));
    await stack.expire(id);
    expect((await stack.getToken(id)).body).toMatchObject({ token_version: 3 });
    expect(own.truth()).toMatchObject({ exchanges: 4, reuse: 0 });
    expect(own.sendsOf(refreshToken)).toBe(3);
  });

  it.each<[string, Step, string]>([
    ['that ends in the middle of its JSON', { body: '{"access_token":"at-cut","re' }, 'http_200'],
    [
      'that ends before its announced length',
      { body: fresh, truncateAtBytes: 20 },
      'answer_truncated',
    ],
  ])('R36 a 200 %s is ambiguous', async (_name, step, code) => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted, { expires_in: 3_600 });
    endpoint.script(step);
    expect((await stack.refresh(id, { force: true })).body).toMatchObject({
      status: 503,
      code: 'refresh_uncertain',
    });
    expect(await failuresOf(id)).toMatchObject([{ class: 'ambiguous', code }]);
    expect(await connectionOf(id)).toMatchObject({ status: 'uncertain' });
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
  });
});

describe.concurrent('answers that ask for time', () => {
  const retryAfterSeconds = 7;
  /** By a clock that is an hour slow: the date counts from the answer's own. */
  const datedHeaders = (): Record<string, string> => {
    const writtenAtMs = Date.now() - 3_600_000;
    return {
      date: new Date(writtenAtMs).toUTCString(),
      'retry-after': new Date(writtenAtMs + retryAfterSeconds * 1_000).toUTCString(),
    };
  };

  it.for<[string, Step, string]>([
    [
      '429 with Retry-After: 7',
      { status: 429, headers: { 'retry-after': '7' }, body: '' },
      'provider_rate_limited',
    ],
    [
      '429 with an HTTP-date',
      { status: 429, headers: datedHeaders(), body: '' },
      'provider_rate_limited',
    ],
    [
      '503 with Retry-After: 7',
      { status: 503, headers: { 'retry-after': '7' }, body: '' },
      'provider_unavailable',
    ],
  ])(
    'R27 %s: nothing is sent for 7 s, force included, and the valid token is served',
    async ([, step, code], { expect }) => {
      const { id, refreshToken, own } = await startProvider('F', {
        members: { expires_in: 600 },
        steps: [step],
      });
      const answeredAtMs = own.waitForRequests(1).then(() => performance.now());
      await stack.refresh(id, { force: true, wait_seconds: 0 });
      await expect
        .poll(async () => (await connectionOf(id))['next_attempt_at'], { timeout: 5_000 })
        .not.toBeNull();
      for (const waitSeconds of [1, 0]) {
        const askedAtMs = performance.now();
        const problem = await stack.refresh(id, { force: true, wait_seconds: waitSeconds });
        expect(problem.body).toMatchObject({ status: 503, code, retryable: true });
        const sinceAnswerSeconds = (askedAtMs - (await answeredAtMs)) / 1_000;
        const retryAfter = Number(problem.headers.get('retry-after'));
        expect(retryAfter).toBeGreaterThan(retryAfterSeconds - sinceAnswerSeconds - 1);
        expect(retryAfter).toBeLessThanOrEqual(retryAfterSeconds);
      }
      expect((await stack.getToken(id)).body).toMatchObject({ token_version: 1 });
      expect(own.sendsOf(refreshToken)).toBe(1);
      await own.waitForRequests(2);
      const waitedMs = performance.now() - (await answeredAtMs);
      expect(waitedMs).toBeGreaterThanOrEqual(retryAfterSeconds * 1_000);
      expect(waitedMs).toBeLessThan(2 * retryAfterSeconds * 1_000);
      await expect
        .poll(async () => (await stack.getToken(id)).body['token_version'], { timeout: 10_000 })
        .toBe(2);
      expect(own.truth()).toMatchObject({ exchanges: 1, reuse: 0 });
    },
  );

  it('R27 a Retry-After of a day counts as an hour', async ({ expect }) => {
    const { id, refreshToken, own } = await startProvider('F', {
      members: { expires_in: 600 },
      steps: [{ status: 429, headers: { 'retry-after': '86400' }, body: '' }],
    });
    const problem = await stack.refresh(id, { force: true });
    expect(problem.body).toMatchObject({ code: 'provider_rate_limited' });
    const waitSeconds = Number(problem.headers.get('retry-after'));
    expect(waitSeconds).toBeGreaterThan(3_500);
    expect(waitSeconds).toBeLessThanOrEqual(3_600);
    expect(await connectionOf(id)).toMatchObject({ status: 'active', reason: 'rate_limited' });
    expect((await stack.getToken(id)).body).toMatchObject({ token_version: 1 });
    expect(own.sendsOf(refreshToken)).toBe(1);
  });
});

describe.concurrent('answers without end', () => {
  /** Class T: an answer may take a quarter of the grace, here three seconds. */
  const impatient = { rotation: { class: 'T', grace_seconds: 12 } };
  const memoryGrowthMaxBytes = 48 * mebibyte;
  const hugeBytes = 200 * mebibyte;

  it.for<[string, Step, string]>([
    ['200 MiB', { floodBytes: hugeBytes }, 'answer_too_large'],
    ['a gzip bomb of 200 MiB', { gzipBombBytes: hugeBytes }, 'answer_too_large'],
    ['1 byte a second', { body: fresh, trickleBytes: 1, trickleEveryMs: 1_000 }, 'answer_timeout'],
  ])(
    'R50 %s is cut off, in bounded memory, and is ambiguous',
    async ([, step, code], { expect }) => {
      // A bomb may take its time on a slow machine; a trickle is to meet the deadline soon.
      const overrides = code === 'answer_timeout' ? impatient : {};
      const { id, own } = await startProvider('F', { overrides, steps: [step] });
      const memory = watchMemory();
      void stack.getToken(id, '?wait_seconds=0');
      await expect
        .poll(async () => (await failuresOf(id))[0], { timeout: 20_000 })
        .toMatchObject({ class: 'ambiguous', code });
      expect(memory.growthBytes()).toBeLessThan(memoryGrowthMaxBytes);
      // What the kernel's buffers hold counts as sent.
      expect(own.truth().bytesSent).toBeLessThan(16 * mebibyte);
      const [failure] = await failuresOf(id);
      if (code === 'answer_timeout') expect(failure?.duration_ms).toBeLessThan(8_000);
      expect((await connectionOf(id))['status']).not.toBe('reauthorization_required');
    },
  );
});

/** The most that buffers outside the heap have grown, looked at every few milliseconds. */
function watchMemory(): { growthBytes: () => number } {
  const atStart = process.memoryUsage().arrayBuffers;
  let most = atStart;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers);
  }, 5);
  return {
    growthBytes() {
      clearInterval(timer);
      return most - atStart;
    },
  };
}
