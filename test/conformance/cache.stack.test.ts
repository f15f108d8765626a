import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { composeGatewayOfServices, type GatewayOfServices } from '../../cli/gateway-of-services.ts';
import { startFreezableProxy, type FreezableProxy } from '../support/freezable-proxy.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type Answer, type TestStack } from '../support/test-stack.ts';

/** Far less than TOKEN_CACHE_SECONDS, so that only a notice explains it. */
const atOnce = { timeout: 1_000, interval: 5 };
/** Of a hundred callers at once, on busy cores; one connection attempt alone may take 2 s. */
const fastMs = 1_900;

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let second: GatewayOfServices;
let appId: string;

beforeAll(async () => {
  [stack, endpoint] = await Promise.all([startTestStack(), startScriptedTokenEndpoint()]);
  appId = await stack.addApp(endpoint.url);
  const { services, worker } = stack.allInOne;
  second = await composeGatewayOfServices(services, {
    build: { name: '', version: '', commit: '', builtAt: null, node: '', temporalSdk: '' },
    client: worker.client,
    requestEagerStart: false,
  });
  await untilBothListen();
});
afterEach(() => {
  endpoint.clearScript();
});
afterAll(async () => {
  await second.close();
  await stack.close();
  await endpoint.close();
});

function addFresh(): Promise<string> {
  return stack.addConnection(appId, endpoint.grant(), { expires_in: 3_600 });
}

async function getFromSecond(id: string, query = ''): Promise<Answer> {
  const response = await fetch(`${second.url}/v1/connections/${id}/token${query}`);
  const body = (await response.json()) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, body };
}

async function untilBothListen(): Promise<void> {
  for (const { tokenNotices } of [stack.allInOne.gateway, second]) {
    await vi.waitFor(() => expect(tokenNotices?.session()).toBeDefined(), { timeout: 20_000 });
  }
}

/** How many tokens both gateways have handed out so far, by source. */
async function countReads(): Promise<Record<string, number>> {
  const { body } = await stack.allInOne.services.metrics.page();
  const counts: Record<string, number> = { cache: 0, store: 0, refresh: 0, stale: 0 };
  for (const [, source, count] of body.matchAll(/token_reads_total\{.*source="(\w+)".*\} (\d+)/g)) {
    counts[String(source)] = Number(count);
  }
  return counts;
}

/** What the sources gained while `work` ran, without those that gained nothing. */
async function readsDuring(work: () => Promise<unknown>): Promise<Record<string, number>> {
  const before = await countReads();
  await work();
  const after = Object.entries(await countReads());
  return Object.fromEntries(
    after
      .map(([source, count]) => [source, count - (before[source] ?? 0)] as const)
      .filter(([, gained]) => gained > 0),
  );
}

/**
 * PostgreSQL takes no connection to this database any more, and ends those there are, or only those
 * that listen; answers how to let it again.
 */
async function refuseDatabase(ending: 'all' | 'listeners'): Promise<() => Promise<void>> {
  const name = new URL(stack.database.url).pathname.slice(1);
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  await client.query(`alter database ${name} allow_connections false`);
  await client.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = $1 and application_name like $2`,
    [name, ending === 'all' ? '%' : '% listen'],
  );
  return async () => {
    await client.query(`alter database ${name} allow_connections true`);
    await client.end();
  };
}

describe('fresh reads', () => {
  it('are answered from memory, and ask PostgreSQL once', async () => {
    const id = await addFresh();
    const gained = await readsDuring(async () => {
      for (let read = 0; read < 50; read += 1) expect((await stack.getToken(id)).status).toBe(200);
    });
    expect(gained).toEqual({ store: 1, cache: 49 });
  });

  it('of a second gateway see a refresh made through the first at once', async () => {
    const id = await addFresh();
    for (let version = 2; version <= 6; version += 1) {
      expect((await getFromSecond(id)).body['token_version']).toBe(version - 1);
      const refreshed = await stack.refresh(id, { rejected_token_version: version - 1 });
      expect(refreshed.body['token_version']).toBe(version);
      // The very next read, whether or not the notice has come around.
      const demanded = await getFromSecond(id, `?min_token_version=${version}`);
      expect(demanded.body).toMatchObject({
        token_version: version,
        access_token: refreshed.body['access_token'],
        refreshed: false,
      });
      expect((await stack.getToken(id)).body['token_version']).toBe(version);
    }
  });

  it('of a second gateway see it by its notice, without a demand', async () => {
    const id = await addFresh();
    await getFromSecond(id);
    const gained = await readsDuring(() => getFromSecond(id));
    expect(gained).toEqual({ cache: 1 });
    await stack.refresh(id, { force: true });
    await expect.poll(async () => (await getFromSecond(id)).body['token_version'], atOnce).toBe(2);
  });

  it('see new credentials at once, here and there', async () => {
    const id = await addFresh();
    await Promise.all([stack.getToken(id), getFromSecond(id)]);
    const put = await stack.call('PUT', `/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: appId,
      access_token: 'at-of-the-new-consent',
      refresh_token: endpoint.grant().refreshToken,
      expires_in: 3_600,
    });
    expect(put.status).toBe(200);
    expect((await stack.getToken(id)).body['access_token']).toBe('at-of-the-new-consent');
    await expect
      .poll(async () => (await getFromSecond(id)).body['access_token'], atOnce)
      .toBe('at-of-the-new-consent');
  });

  it('a POST reads the row, whatever is cached', async () => {
    const id = await addFresh();
    await stack.getToken(id);
    // Nobody is told of this, as when a notice is late.
    await stack.database.pool.query(
      'update connections set token_version = token_version + 1 where id = $1',
      [id],
    );
    expect((await stack.getToken(id)).body['token_version']).toBe(1);
    expect((await stack.refresh(id)).body['token_version']).toBe(2);
    expect((await stack.getToken(id)).body['token_version']).toBe(2);
  });
});

describe('notices', () => {
  async function heardDuring(work: () => Promise<unknown>): Promise<string[]> {
    const { tokenNotices } = stack.allInOne.gateway;
    if (tokenNotices === undefined) throw new Error('there is no cache');
    const heard: string[] = [];
    const last = `last-${Math.random()}`;
    const unsubscribe = tokenNotices.subscribe((id) => heard.push(id));
    await work();
    await stack.database.pool.query(`select pg_notify('token_changes', $1)`, [last]);
    await expect.poll(() => heard.at(-1)).toBe(last);
    unsubscribe();
    return heard.slice(0, -1);
  }
  const putAgain = (id: string, members: Record<string, unknown>) =>
    stack.call('PUT', `/v1/connections/${id}`, { tenant_id: 'tenant', app_id: appId, ...members });

  it('are one for a refresh, and one for new credentials', async () => {
    const id = await addFresh();
    expect(await heardDuring(() => stack.refresh(id, { force: true }))).toEqual([id]);
    const { accessToken, refreshToken } = endpoint.grant();
    const credentials = { access_token: accessToken, refresh_token: refreshToken };
    expect(await heardDuring(() => putAgain(id, credentials))).toEqual([id]);
  });

  it('are none for a new connection, the same credentials, facts, or a verdict', async () => {
    const tokens = endpoint.grant();
    let id = '';
    expect(
      await heardDuring(async () => {
        id = await stack.addConnection(appId, tokens, { expires_in: 3_600 });
        await putAgain(id, { refresh_token: tokens.refreshToken, metadata: { a: 1 } });
        endpoint.script({ status: 400, body: { error: 'invalid_grant' } });
        expect((await stack.refresh(id, { force: true })).status).toBe(409);
      }),
    ).toEqual([]);
    expect((await stack.call('GET', `/v1/connections/${id}`)).body).toMatchObject({
      status: 'reauthorization_required',
    });
  });
});

describe('without LISTEN', () => {
  it('every read asks PostgreSQL until it is back, and what was read before is asked for again', async () => {
    const id = await addFresh();
    await stack.getToken(id);
    const { tokenNotices } = stack.allInOne.gateway;
    const sessionBefore = tokenNotices?.session() ?? 0;
    const allow = await refuseDatabase('listeners');
    try {
      await expect.poll(() => tokenNotices?.session()).toBeUndefined();
      const gained = await readsDuring(async () => {
        for (const scope of ['unheard', 'unheard again']) {
          await stack.database.pool.query('update connections set scope = $2 where id = $1', [
            id,
            scope,
          ]);
          expect((await stack.getToken(id)).body['scope']).toBe(scope);
        }
      });
      expect(gained).toEqual({ store: 2 });
    } finally {
      await allow();
    }
    await untilBothListen();
    expect(tokenNotices?.session()).toBeGreaterThan(sessionBefore);
    expect(await readsDuring(() => stack.getToken(id))).toEqual({ store: 1 });
    expect(await readsDuring(() => stack.getToken(id))).toEqual({ cache: 1 });
    await stack.refresh(id, { force: true });
    await expect.poll(async () => (await getFromSecond(id)).body['token_version'], atOnce).toBe(2);
    for (const line of ['LISTEN is down', 'LISTEN is back']) {
      expect(stack.logText().split(line)).toHaveLength(1 + 2);
    }
  });
});

describe('while PostgreSQL refuses connections', () => {
  it('cached tokens are served, others are 503 at once, and all is well when it is back', async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, addFresh));
    const unread = await addFresh();
    for (const id of ids) await stack.getToken(id);
    const allow = await refuseDatabase('all');
    try {
      const { tokenNotices } = stack.allInOne.gateway;
      await expect.poll(() => tokenNotices?.session(), { interval: 1 }).toBeUndefined();
      const gained = await readsDuring(async () => {
        const startedMs = performance.now();
        const callers = Array.from({ length: 100 }, (_, index) =>
          stack.getToken(ids[index % ids.length] ?? ''),
        );
        for (const { status, body } of await Promise.all(callers)) {
          expect([status, body['token_version'], body['refreshed']]).toEqual([200, 1, false]);
        }
        expect(performance.now() - startedMs).toBeLessThan(fastMs);
      });
      expect(gained).toEqual({ stale: 100 });

      const startedMs = performance.now();
      const refused = await Promise.all([
        ...Array.from({ length: 100 }, () => stack.getToken(unread)),
        stack.getToken(ids[0] ?? '', '?min_token_version=2'),
        stack.refresh(ids[0] ?? ''),
      ]);
      for (const { status, body, headers } of refused) {
        expect([status, body['code']]).toEqual([503, 'store_unavailable']);
        expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0);
      }
      expect(performance.now() - startedMs).toBeLessThan(fastMs);
    } finally {
      await allow();
    }
    await expect
      .poll(async () => (await stack.getToken(unread)).status, { timeout: 5_000 })
      .toBe(200);
    await untilBothListen();
    const [id = ''] = ids;
    expect(await readsDuring(() => stack.getToken(id))).toEqual({ store: 1 });
    expect(await readsDuring(() => stack.getToken(id))).toEqual({ cache: 1 });
  }, 60_000);
});

describe('while PostgreSQL hangs', () => {
  it('a cached token is served after 2 s at most, and the callers after the first do not wait', async () => {
    let proxy: FreezableProxy | undefined;
    const hanging = await startTestStack({
      connectThrough: async (databaseUrl) => {
        proxy = await startFreezableProxy(databaseUrl);
        return proxy.url;
      },
    });
    try {
      const app = await hanging.addApp(endpoint.url);
      const id = await hanging.addConnection(app, endpoint.grant(), { expires_in: 3_600 });
      await hanging.getToken(id);
      proxy?.freeze();
      const { tokenNotices } = hanging.allInOne.gateway;
      await expect.poll(() => tokenNotices?.session(), { timeout: 5_000 }).toBeUndefined();

      const first = performance.now();
      expect((await hanging.getToken(id)).status).toBe(200);
      expect(performance.now() - first).toBeLessThan(2_000 + fastMs);
      const timed = async (asked: string) => {
        const startedMs = performance.now();
        const { status } = await hanging.getToken(asked);
        return { status, isFast: performance.now() - startedMs < fastMs };
      };
      const callers = Array.from({ length: 50 }, () => [timed(id), timed('never-read')]);
      const answers = await Promise.all(callers.flat());
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 503]));
      // One of them may be the one that asks whether PostgreSQL is back.
      expect(answers.filter(({ isFast }) => !isFast).length).toBeLessThanOrEqual(1);

      proxy?.thaw();
      await expect
        .poll(async () => (await hanging.getToken('never-read')).status, { timeout: 20_000 })
        .toBe(404);
    } finally {
      proxy?.thaw();
      await hanging.close();
      await proxy?.close();
    }
  }, 90_000);
});

describe('TOKEN_CACHE_SECONDS=0', () => {
  it('asks PostgreSQL each time, listens to nothing, and serves nothing stale', async () => {
    const uncached = await startTestStack({ env: { TOKEN_CACHE_SECONDS: '0' } });
    try {
      const app = await uncached.addApp(endpoint.url);
      const id = await uncached.addConnection(app, endpoint.grant(), { expires_in: 3_600 });
      expect(uncached.allInOne.gateway.tokenNotices).toBeUndefined();
      for (let read = 0; read < 3; read += 1) await uncached.getToken(id);
      const { body } = await uncached.allInOne.services.metrics.page();
      expect(body).toMatch(/token_reads_total\{.*source="store".*\} 3/);
      expect(body).not.toContain('source="cache"');
    } finally {
      await uncached.close();
    }
  }, 60_000);
});
