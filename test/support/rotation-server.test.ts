import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { rotationClients, startRotationServer, type RotationServer } from './rotation-server.ts';

const briefGraceSeconds = 0.3;
const secret = 'brief-secret';
const briefGrace = {
  id: 'brief-grace',
  secret,
  rule: { class: 'T', graceSeconds: briefGraceSeconds } as const,
  introspection: false,
};

let server: RotationServer;
let grants = 0;
beforeAll(async () => {
  server = await startRotationServer({ clients: [...rotationClients, briefGrace] });
});
afterAll(() => server.close());

interface TokenAnswer {
  status: number;
  accessToken: string;
  refreshToken: string;
  error: unknown;
}

/** A grant of the client, and raw requests about it. */
async function grantOf(clientId: string) {
  const client = server.clients.find(({ id }) => id === clientId);
  grants += 1;
  const connectionId = `c${grants}`;
  const granted = await server.createGrant(connectionId, clientId);
  const credentials = { client_id: clientId, client_secret: client?.secret ?? '' };
  const post = async (url: string, form: Record<string, string>) => {
    const response = await fetch(url, {
      method: 'POST',
      body: new URLSearchParams({ ...credentials, ...form }),
    });
    const text = await response.text();
    const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
    return { status: response.status, body };
  };
  return {
    accessToken: granted.access_token,
    refreshToken: granted.refresh_token,
    truth: () => server.ledger().connections[connectionId],
    async refresh(refreshToken: string): Promise<TokenAnswer> {
      const form = { grant_type: 'refresh_token', refresh_token: refreshToken };
      const { status, body } = await post(server.tokenUrl, form);
      return {
        status,
        accessToken: String(body['access_token']),
        refreshToken: String(body['refresh_token']),
        error: body['error'],
      };
    },
    introspect: (token: string) => post(server.introspectUrl, { token }),
    revoke: (token: string) => post(server.revokeUrl, { token }),
    /** The status that the provider's API gives the access token. */
    async callApi(accessToken: string): Promise<number> {
      const headers = { authorization: `Bearer ${accessToken}` };
      return (await fetch(`${server.origin}/me`, { headers })).status;
    },
  };
}

async function refreshEightTimes(clientId: string) {
  const grant = await grantOf(clientId);
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => grant.refresh(grant.refreshToken)),
  );
  return { grant, winners: answers.filter(({ status }) => status === 200) };
}

const refused = { status: 400, error: 'invalid_grant' };

describe('of eight refreshes at once', () => {
  it('exactly one succeeds in class X, and its pair lives', async () => {
    const { grant, winners } = await refreshEightTimes('X');
    expect(winners).toHaveLength(1);
    expect((await grant.refresh(winners[0]?.refreshToken ?? '')).status).toBe(200);
    expect(grant.truth()).toMatchObject({
      exchanges: 2,
      replays_forbidden: 7,
      family_revocations: 0,
    });
  });

  it('exactly one succeeds in class F, and the family is dead', async () => {
    const { grant, winners } = await refreshEightTimes('F');
    expect(winners).toHaveLength(1);
    const [winner] = winners;
    expect(await grant.refresh(winner?.refreshToken ?? '')).toMatchObject(refused);
    expect(await grant.callApi(winner?.accessToken ?? '')).toBe(401);
    expect(grant.truth()).toMatchObject({
      exchanges: 1,
      replays_forbidden: 7,
      family_revocations: 1,
      live_refresh_tokens: 0,
    });
  });

  it.each([
    ['S', 1, 0],
    ['L', 9, 7],
    ['C', 9, 7],
    ['T30', 2, 7],
  ])('all succeed in class %s', async (clientId, live, replays) => {
    const { grant, winners } = await refreshEightTimes(clientId);
    expect(winners).toHaveLength(8);
    expect(grant.truth()).toMatchObject({
      exchanges: 8,
      replays_allowed: replays,
      replays_forbidden: 0,
      live_refresh_tokens: live,
    });
  });
});

describe('the rules of the classes', () => {
  it('S keeps its one refresh token', async () => {
    const grant = await grantOf('S');
    const first = await grant.refresh(grant.refreshToken);
    expect(first.refreshToken).toBe(grant.refreshToken);
    expect(first.accessToken).not.toBe(grant.accessToken);
    expect((await grant.refresh(grant.refreshToken)).status).toBe(200);
    expect(grant.truth()).toMatchObject({ class: 'S', exchanges: 2, replays_allowed: 0 });
  });

  it('L gives new ones, and every old one stays', async () => {
    const grant = await grantOf('L');
    const first = await grant.refresh(grant.refreshToken);
    expect(first.refreshToken).not.toBe(grant.refreshToken);
    const second = await grant.refresh(first.refreshToken);
    for (const { refreshToken } of [grant, first, second]) {
      expect((await grant.refresh(refreshToken)).status).toBe(200);
    }
    expect(grant.truth()).toMatchObject({ exchanges: 5, replays_allowed: 2, replays_forbidden: 0 });
  });

  it('T within its grace gives another pair, which replaces the first', async () => {
    const grant = await grantOf('T30');
    const first = await grant.refresh(grant.refreshToken);
    const replayed = await grant.refresh(grant.refreshToken);
    expect(replayed.refreshToken).not.toBe(first.refreshToken);
    expect(await grant.refresh(first.refreshToken)).toMatchObject(refused);
    expect((await grant.refresh(replayed.refreshToken)).status).toBe(200);
    expect(grant.truth()).toMatchObject({
      class: 'T(30)',
      exchanges: 3,
      replays_allowed: 1,
      replays_forbidden: 0,
      family_revocations: 0,
    });
  });

  it('T beyond its grace revokes the family', async () => {
    const grant = await grantOf('brief-grace');
    const first = await grant.refresh(grant.refreshToken);
    await sleep(1_000 * briefGraceSeconds + 50);
    expect(await grant.refresh(grant.refreshToken)).toMatchObject(refused);
    expect(await grant.refresh(first.refreshToken)).toMatchObject(refused);
    expect(await grant.callApi(first.accessToken)).toBe(401);
    expect(grant.truth()).toMatchObject({ replays_forbidden: 1, family_revocations: 1 });
  });

  it('T refuses, and revokes, once the new refresh token was used', async () => {
    const grant = await grantOf('T30');
    const first = await grant.refresh(grant.refreshToken);
    const second = await grant.refresh(first.refreshToken);
    expect(await grant.refresh(grant.refreshToken)).toMatchObject(refused);
    expect(await grant.refresh(second.refreshToken)).toMatchObject(refused);
    expect(grant.truth()).toMatchObject({ replays_forbidden: 1, family_revocations: 1 });
  });

  it.each([
    ['access', 'accessToken'],
    ['refresh', 'refreshToken'],
  ] as const)('C ends the old token with the first use of a new %s token', async (_name, used) => {
    const grant = await grantOf('C');
    const first = await grant.refresh(grant.refreshToken);
    const repeated = await grant.refresh(grant.refreshToken);
    expect(repeated.refreshToken).not.toBe(first.refreshToken);
    const next =
      used === 'accessToken'
        ? await grant.callApi(repeated.accessToken)
        : (await grant.refresh(repeated.refreshToken)).status;
    expect(next).toBe(200);
    // The old token is dead, and so is the pair that was not used; the one that was, lives.
    expect(await grant.refresh(grant.refreshToken)).toMatchObject(refused);
    expect(await grant.refresh(first.refreshToken)).toMatchObject(refused);
    expect(await grant.callApi(first.accessToken)).toBe(401);
    expect((await grant.refresh(repeated.refreshToken)).status).toBe(200);
    expect(grant.truth()).toMatchObject({ replays_forbidden: 1, family_revocations: 0 });
  });

  it('X refuses a spent token, and its successor lives', async () => {
    const grant = await grantOf('X');
    const first = await grant.refresh(grant.refreshToken);
    expect(await grant.refresh(grant.refreshToken)).toMatchObject(refused);
    expect((await grant.refresh(first.refreshToken)).status).toBe(200);
    expect(grant.truth()).toMatchObject({ replays_forbidden: 1, family_revocations: 0 });
  });

  it('F ends the family, once, when a spent token comes again', async () => {
    const grant = await grantOf('F');
    const first = await grant.refresh(grant.refreshToken);
    for (const token of [grant.refreshToken, grant.refreshToken, first.refreshToken]) {
      expect(await grant.refresh(token)).toMatchObject(refused);
    }
    expect(await grant.callApi(first.accessToken)).toBe(401);
    expect(grant.truth()).toMatchObject({
      exchanges: 1,
      replays_forbidden: 2,
      replays_after_lost_answer: 0,
      family_revocations: 1,
    });
  });
});

describe('the endpoints beside the token endpoint', () => {
  it('introspection tells what the class would do with the token', async () => {
    const grant = await grantOf('F-introspection');
    expect((await grant.introspect(grant.refreshToken)).body).toMatchObject({ active: true });
    const first = await grant.refresh(grant.refreshToken);
    expect((await grant.introspect(grant.refreshToken)).body).toEqual({ active: false });
    for (const token of [first.refreshToken, first.accessToken]) {
      expect((await grant.introspect(token)).body).toMatchObject({ active: true });
      expect(server.isLive(token)).toBe(true);
    }
    expect(server.isLive(grant.refreshToken)).toBe(false);
    expect(grant.truth()).toMatchObject({ replays_forbidden: 0 });
  });

  it('introspection refuses clients for whom it is switched off', async () => {
    const grant = await grantOf('F');
    expect(await grant.introspect(grant.refreshToken)).toMatchObject({ status: 403 });
  });

  it('revocation ends the family, which is no reuse', async () => {
    const grant = await grantOf('S');
    expect((await grant.revoke(grant.refreshToken)).status).toBe(200);
    expect(await grant.refresh(grant.refreshToken)).toMatchObject(refused);
    expect(grant.truth()).toMatchObject({ replays_forbidden: 0, family_revocations: 0 });
  });
});

describe('faults', () => {
  it.each([
    ['drop_answer', 1],
    ['reset_answer', 1],
    ['truncate_answer', 1],
    ['drop_request', 0],
  ] as const)('%s breaks the connection, and %i answer is lost', async (fault, lost) => {
    const grant = await grantOf('L');
    server.setFaults({ next: [fault] });
    await expect(grant.refresh(grant.refreshToken)).rejects.toThrow();
    await expect.poll(() => grant.truth()?.answers_lost).toBe(lost);
    expect(grant.truth()).toMatchObject({ exchanges: lost });
    expect((await grant.refresh(grant.refreshToken)).status).toBe(200);
    expect(grant.truth()).toMatchObject({ exchanges: lost + 1, answers_lost: lost });
  });

  it('a replay after a lost answer is told from one after an answer', async () => {
    const grant = await grantOf('X');
    server.setFaults({ next: ['drop_answer'] });
    await expect(grant.refresh(grant.refreshToken)).rejects.toThrow();
    expect(await grant.refresh(grant.refreshToken)).toMatchObject(refused);
    expect(grant.truth()).toMatchObject({ replays_forbidden: 1, replays_after_lost_answer: 1 });
  });

  it('an answer to a client that has gone away is lost', async () => {
    const grant = await grantOf('L');
    server.setFaults({ delay_ms: 200 });
    onTestFinished(() => server.setFaults({}));
    const gone = new AbortController();
    const call = fetch(server.tokenUrl, {
      method: 'POST',
      signal: gone.signal,
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: grant.refreshToken,
        client_id: 'L',
        client_secret: server.clients[0]?.secret ?? '',
      }),
    });
    await expect.poll(() => grant.truth()?.exchanges).toBe(1);
    gone.abort();
    await expect(call).rejects.toThrow();
    await expect.poll(() => grant.truth()?.answers_lost).toBe(1);
  });
});

it('as a process of its own it grants, refreshes, and tells the truth', async () => {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', 'test/support/run-rotation-server.ts'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  onTestFinished(() => void child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const { url, token_url: tokenUrl } = JSON.parse(line.toString()) as Record<string, string>;
  const call = async (path: string, body?: unknown): Promise<Record<string, unknown>> => {
    const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    return (await (await fetch(`${url ?? ''}${path}`, init)).json()) as Record<string, unknown>;
  };

  const granted = await call('/grants', { connection_id: 'c', class: 'T(30)', expires_in: 7 });
  expect(granted).toMatchObject({ expires_in: 7 });
  expect(await call('/grants', { connection_id: 'c', class: 'Z' })).toHaveProperty('error');
  const clients = (await call('/clients')) as unknown as Record<string, string>[];
  const client = clients.find((other) => other['class'] === 'T(30)');
  await call('/faults', { next: ['unavailable'], retry_after_seconds: 3 });
  const refresh = () =>
    fetch(tokenUrl ?? '', {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: String(granted['refresh_token']),
        client_id: client?.['client_id'] ?? '',
        client_secret: client?.['client_secret'] ?? '',
      }),
    });
  const unavailable = await refresh();
  expect([unavailable.status, unavailable.headers.get('retry-after')]).toEqual([503, '3']);
  const answer = (await (await refresh()).json()) as Record<string, unknown>;
  expect(answer).toMatchObject({ expires_in: 7 });
  expect(await call(`/live?token=${String(answer['access_token'])}`)).toEqual({ live: true });
  const counts = {
    exchanges: 1,
    replays_allowed: 0,
    replays_forbidden: 0,
    replays_after_lost_answer: 0,
    family_revocations: 0,
    answers_lost: 0,
    live_refresh_tokens: 2,
  };
  expect(await call('/ledger')).toEqual({
    total: counts,
    connections: { c: { class: 'T(30)', ...counts } },
  });
});
