import { appendFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';

import {
  createDemoProvider,
  type DemoProvider,
} from '../../dev/demo-provider/create-demo-provider.ts';
import { createGrantStore, type GrantStore } from '../../dev/demo-provider/grant-store.ts';
import { createOidcAdapter } from '../../dev/demo-provider/oidc-adapter.ts';
import { findFreePort } from '../../dev/ports.ts';

const client = { id: 'demo-client', secret: 'demo-secret' };
const closers: (() => void)[] = [];

afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function serve(
  store: GrantStore,
  options: { naive?: boolean; answerDelayMs?: number } = {},
): Promise<DemoProvider> {
  const port = await findFreePort();
  const provider = createDemoProvider({
    issuer: `http://127.0.0.1:${port}`,
    store,
    client,
    ...(options.naive === true ? { adapter: naiveAdapter(store) } : {}),
    ...(options.answerDelayMs === undefined ? {} : { answerDelayMs: options.answerDelayMs }),
  });
  const server: Server = createServer(provider.handler);
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return provider;
}

/** What the libraries ship: whoever read the token before it was marked may consume it. */
function naiveAdapter(store: GrantStore): ReturnType<typeof createOidcAdapter> {
  const strict = createOidcAdapter(store, () => 'reuse');
  return (model) => ({
    ...strict(model),
    consume(id) {
      store.consume(id);
      return Promise.resolve();
    },
  });
}

interface TokenAnswer {
  status: number;
  body: Record<string, unknown>;
}

async function post(url: string, form: Record<string, string>): Promise<TokenAnswer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}`,
    },
    body: new URLSearchParams(form),
  });
  const text = await response.text();
  return {
    status: response.status,
    body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
  };
}

function refresh(provider: DemoProvider, refreshToken: string): Promise<TokenAnswer> {
  return post(`${provider.issuer}/token`, {
    grant_type: 'refresh_token',
    refresh_token: refreshToken,
  });
}

function inMemory(): GrantStore {
  return createGrantStore({ nowMs: Date.now });
}

async function refreshEightTimes(provider: DemoProvider): Promise<TokenAnswer[]> {
  const grant = await provider.createGrant('c1');
  return Promise.all(Array.from({ length: 8 }, () => refresh(provider, grant.refresh_token)));
}

test('a refresh rotates both tokens, and the new ones work', async () => {
  const provider = await serve(inMemory());
  const grant = await provider.createGrant('c1');
  const first = await refresh(provider, grant.refresh_token);
  expect(first).toMatchObject({ status: 200, body: { token_type: 'Bearer', expires_in: 60 } });
  expect(first.body['refresh_token']).not.toBe(grant.refresh_token);
  expect(first.body['access_token']).not.toBe(grant.access_token);

  const second = await refresh(provider, String(first.body['refresh_token']));
  expect(second.status).toBe(200);
  const me = await fetch(`${provider.issuer}/me`, {
    headers: { authorization: `Bearer ${String(second.body['access_token'])}` },
  });
  expect(await me.json()).toEqual({ sub: 'c1' });
  expect(provider.stats().connections['c1']).toEqual({
    exchanges: 2,
    reuse: 0,
    family_revocations: 0,
  });
});

test('of eight refreshes at once exactly one succeeds, and the family is dead', async () => {
  const provider = await serve(inMemory());
  const answers = await refreshEightTimes(provider);
  const winners = answers.filter(({ status }) => status === 200);
  expect(winners).toHaveLength(1);
  expect(answers.filter(({ body }) => body['error'] === 'invalid_grant')).toHaveLength(7);
  const afterwards = await refresh(provider, String(winners[0]?.body['refresh_token']));
  expect(afterwards).toMatchObject({ status: 400, body: { error: 'invalid_grant' } });
  expect(provider.stats().total).toEqual({ exchanges: 1, reuse: 7, family_revocations: 1 });
});

test('the same eight refreshes show more than one success with a naive adapter', async () => {
  const provider = await serve(inMemory(), { naive: true });
  const answers = await refreshEightTimes(provider);
  expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThan(1);
});

test('a spent refresh token that comes again later ends the family, once', async () => {
  const provider = await serve(inMemory());
  const grant = await provider.createGrant('c1');
  const first = await refresh(provider, grant.refresh_token);
  for (const token of [grant.refresh_token, grant.refresh_token]) {
    expect(await refresh(provider, token)).toMatchObject({ body: { error: 'invalid_grant' } });
  }
  const successor = await refresh(provider, String(first.body['refresh_token']));
  expect(successor.body['error']).toBe('invalid_grant');
  expect(provider.stats().connections['c1']).toEqual({
    exchanges: 1,
    reuse: 2,
    family_revocations: 1,
  });
});

test('a new grant of the same connection outlives the family before it', async () => {
  const provider = await serve(inMemory());
  await refreshEightTimes(provider);
  const grant = await provider.createGrant('c1');
  expect((await refresh(provider, grant.refresh_token)).status).toBe(200);
});

test('nothing of a revoked family comes to life again', () => {
  const store = inMemory();
  store.addGrant('g1', 'c1');
  store.put('RefreshToken', 'token', { grantId: 'g1' }, 60);
  store.revoke('g1', 'reuse');
  // The winner of the race saves its successor only now.
  store.put('RefreshToken', 'successor', { grantId: 'g1' }, 60);
  expect(store.find('RefreshToken', 'token')).toBeUndefined();
  expect(store.find('RefreshToken', 'successor')).toBeUndefined();
});

test('revoking on request ends the family and is not counted as reuse', async () => {
  const provider = await serve(inMemory());
  const grant = await provider.createGrant('c1');
  const revocation = await post(`${provider.issuer}/token/revocation`, {
    token: grant.refresh_token,
    token_type_hint: 'refresh_token',
  });
  expect(revocation.status).toBe(200);
  expect((await refresh(provider, grant.refresh_token)).status).toBe(400);
  expect(provider.stats().total).toEqual({ exchanges: 0, reuse: 0, family_revocations: 0 });
});

test('introspection knows a live access token and not one of a dead family', async () => {
  const provider = await serve(inMemory());
  const grant = await provider.createGrant('c1');
  const introspect = (): Promise<TokenAnswer> =>
    post(`${provider.issuer}/token/introspection`, { token: grant.access_token });
  expect((await introspect()).body['active']).toBe(true);
  await refresh(provider, grant.refresh_token);
  await refresh(provider, grant.refresh_token);
  expect((await introspect()).body['active']).toBe(false);
});

test('more than a thousand grants live at once', async () => {
  const store = inMemory();
  const provider = await serve(store);
  const first = await provider.createGrant('first');
  for (let n = 0; n < 1_100; n += 1) await provider.createGrant(`c${n}`);
  expect((await refresh(provider, first.refresh_token)).status).toBe(200);
});

test('POST /grants and GET /stats speak as documented', async () => {
  const provider = await serve(inMemory());
  const grants = (body: string): Promise<Response> =>
    fetch(`${provider.issuer}/grants`, { method: 'POST', body });
  const granted = await grants('{"connection_id":"c1"}');
  expect(granted.status).toBe(201);
  expect(await granted.json()).toEqual({
    access_token: expect.any(String) as string,
    refresh_token: expect.any(String) as string,
    expires_in: 60,
  });
  expect((await grants('{"connection_id":"a b"}')).status).toBe(400);
  expect((await grants('nonsense')).status).toBe(400);
  const stats = await fetch(`${provider.issuer}/stats`);
  expect(await stats.json()).toEqual({
    total: { exchanges: 0, reuse: 0, family_revocations: 0 },
    connections: { c1: { exchanges: 0, reuse: 0, family_revocations: 0 } },
  });
});

test('an answer can be held back after the exchange has taken place', async () => {
  const provider = await serve(inMemory(), { answerDelayMs: 200 });
  const grant = await provider.createGrant('c1');
  const answer = refresh(provider, grant.refresh_token);
  await expect.poll(() => provider.stats().total.exchanges, { interval: 5 }).toBe(1);
  const committedAt = performance.now();
  expect((await answer).status).toBe(200);
  expect(performance.now() - committedAt).toBeGreaterThan(100);
});

test('grants, spent tokens and counts survive a restart, and so does a torn last line', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'demo-provider-'));
  closers.push(() => rmSync(directory, { recursive: true }));
  const journalFile = join(directory, 'grants.jsonl');
  const open = (): GrantStore => createGrantStore({ nowMs: Date.now, journalFile });

  const before = open();
  const provider = await serve(before);
  const living = await provider.createGrant('living');
  const dead = await provider.createGrant('dead');
  const successor = await refresh(provider, living.refresh_token);
  await refresh(provider, dead.refresh_token);
  await refresh(provider, dead.refresh_token);
  const counts = provider.stats();
  // No close: a killed process does not tidy up. The second restart reads what the first compacted.
  appendFileSync(journalFile, '{"op":"put","mod');
  open().close();
  expect(statSync(journalFile).mode & 0o777).toBe(0o600);

  const restarted = await serve(open());
  expect(restarted.stats()).toEqual(counts);
  expect((await refresh(restarted, dead.refresh_token)).status).toBe(400);
  expect(restarted.stats().connections['dead']).toEqual({
    exchanges: 1,
    reuse: 2,
    family_revocations: 1,
  });
  const next = await refresh(restarted, String(successor.body['refresh_token']));
  expect(next.status).toBe(200);
  expect(restarted.stats().connections['living']?.exchanges).toBe(2);
});
