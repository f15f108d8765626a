import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { followReseal, startReseal } from '../../cli/keys/reseal-run.ts';
import { loadKeyProviders } from '../../cli/load-key-providers.ts';
import { refreshWorkflowId } from '../../client/contract.ts';
import { findFreePort } from '../../dev/ports.ts';
import { createDataKeyStore, replaceablePurposes } from '../../vault/data-key-store.ts';
import { rotateDataKeys } from '../../vault/rotate-data-keys.ts';
import {
  dumpDatabase,
  dumpHistories,
  findCanaries,
  type Canaries,
} from '../support/leak-detector.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
  type Step,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type Answer, type TestStack } from '../support/test-stack.ts';

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
beforeAll(async () => {
  [stack, endpoint] = await Promise.all([
    startTestStack({ env: { METRICS_PORT: String(await findFreePort()) } }),
    startScriptedTokenEndpoint(),
  ]);
});
afterAll(async () => {
  await stack.close();
  await endpoint.close();
});

async function metricsText(): Promise<string> {
  const response = await fetch(`${stack.allInOne.gateway.metricsUrl ?? ''}/metrics`);
  expect(response.status).toBe(200);
  return response.text();
}

describe('rows of two connections swapped in PostgreSQL', () => {
  async function unsealFailures(): Promise<number> {
    const line = /^token_manager_unseal_failures_total\S* (\d+)$/m.exec(await metricsText());
    return Number(line?.[1]);
  }

  async function swap(one: string, other: string, columns: string): Promise<void> {
    const assignments = columns
      .split(' ')
      .map((column) => `${column} = o.${column}`)
      .join(', ');
    await stack.database.pool.query(
      `update connections c set ${assignments} from connections o
       where (c.id, o.id) in (($1, $2), ($2, $1))`,
      [one, other],
    );
  }

  it('R52 are refused: a read is a 500 without detail, and is counted', async () => {
    const appId = await stack.addApp(endpoint.url);
    const tokens = [endpoint.grant(), endpoint.grant()] as const;
    const members = { expires_in: 600 };
    const one = await stack.addConnection(appId, tokens[0], members);
    const other = await stack.addConnection(appId, tokens[1], members);
    await swap(one, other, 'sealed_access_token access_key_id');
    const before = await unsealFailures();
    for (const id of [one, other]) {
      const answer = await stack.getToken(id);
      expect(answer.body).toMatchObject({ status: 500, code: 'internal', retryable: false });
      expect(JSON.stringify(answer.body)).not.toContain(tokens[0].accessToken);
      expect(JSON.stringify(answer.body)).not.toContain(tokens[1].accessToken);
    }
    expect(await unsealFailures()).toBe(before + 2);
    // Swapped back, both are as they were.
    await swap(one, other, 'sealed_access_token access_key_id');
    expect((await stack.getToken(one)).body['access_token']).toBe(tokens[0].accessToken);
  });

  it('R52 are refused: every byte of a row flipped, cut off, another tenant, an older generation', async () => {
    const appId = await stack.addApp(endpoint.url);
    const { accessToken, refreshToken } = endpoint.grant();
    const id = await stack.addConnection(appId, { accessToken, refreshToken }, { expires_in: 600 });
    const { pool } = stack.database;
    const { rows } = await pool.query<{ sealed: Buffer; tenant: string }>(
      'select sealed_access_token as sealed, tenant_id as tenant from connections where id = $1',
      [id],
    );
    const [row] = rows;
    if (row === undefined) throw new Error('The connection is not stored.');
    const { sealed, tenant } = row;
    let refused = 0;
    const before = await unsealFailures();

    async function expectRefused(change: string, value: unknown): Promise<void> {
      await pool.query(`update connections set ${change} where id = $1`, [id, value]);
      // A POST reads the row, whatever the cache holds.
      const { body } = await stack.refresh(id);
      expect(body).toMatchObject({ status: 500, code: 'internal', retryable: false });
      expect(body).not.toHaveProperty('reason');
      refused += 1;
    }

    for (let at = 0; at < sealed.length; at += 1) {
      const flipped = Buffer.from(sealed);
      flipped.writeUInt8(flipped.readUInt8(at) ^ 0x01, at);
      await expectRefused('sealed_access_token = $2', flipped);
    }
    for (const length of [0, 1, 44, 45, sealed.length - 1]) {
      await expectRefused('sealed_access_token = $2', sealed.subarray(0, length));
    }
    await pool.query('update connections set sealed_access_token = $2 where id = $1', [id, sealed]);
    await expectRefused('tenant_id = $2', 'another-tenant');
    await pool.query('update connections set tenant_id = $2 where id = $1', [id, tenant]);
    // What was stored is put back under a newer generation, as after an import that somebody undoes.
    await expectRefused('generation = generation + $2', 1);
    await expectRefused('generation = generation + $2', 1);
    await pool.query('update connections set generation = generation - 2 where id = $1', [id]);

    expect(await unsealFailures()).toBe(before + refused);
    expect(stack.logText()).toContain('A sealed value does not open for its owner.');
    expect(stack.logText()).toContain('A sealed value is truncated or not of version 1.');
    expect((await stack.refresh(id)).body['access_token']).toBe(accessToken);
  });

  it('R52 are refused: an exchange sends nothing', async () => {
    const appId = await stack.addApp(endpoint.url);
    const tokens = [endpoint.grant(), endpoint.grant()] as const;
    const one = await stack.addConnection(appId, tokens[0]);
    const other = await stack.addConnection(appId, tokens[1]);
    await swap(one, other, 'sealed_refresh_token refresh_key_id refresh_fingerprint');
    const before = { requests: endpoint.requests.length, failures: await unsealFailures() };
    for (const id of [one, other]) {
      const answer = await stack.getToken(id, '?wait_seconds=2');
      expect(answer.status).toBe(503);
      const { body } = await stack.call('GET', `/v1/connections/${id}`);
      expect(body).toMatchObject({ status: 'active', last_failure: { code: 'unseal_failed' } });
    }
    expect(endpoint.requests).toHaveLength(before.requests);
    expect(await unsealFailures()).toBeGreaterThan(before.failures);
  });

  it('R52 are refused: client secrets of another app', async () => {
    const [one, other] = [await stack.addApp(endpoint.url), await stack.addApp(endpoint.url)];
    await stack.database.pool.query(
      `update apps a set sealed_client_secrets = o.sealed_client_secrets
       from apps o where a.id = $1 and o.id = $2`,
      [one, other],
    );
    const id = await stack.addConnection(one, endpoint.grant());
    const before = endpoint.requests.length;
    expect((await stack.getToken(id, '?wait_seconds=2')).status).toBe(503);
    expect(endpoint.requests).toHaveLength(before);
  });
});

describe('planted tokens and secrets', () => {
  const canaries: Canaries = new Map();
  /** What callers may see of them: access tokens, in answers of the token routes. */
  const accessTokens = new Set<string>();
  const problems: Answer[] = [];
  const otherAnswers: Answer[] = [];
  let appId: string;

  /** A secret with characters that each encoding writes in its own way. */
  function plant(name: string): string {
    const canary = `canary/${name}+${randomUUID()}=~`;
    canaries.set(`${name} ${canaries.size}`, canary);
    return canary;
  }

  function plantAccessToken(name: string): string {
    const canary = plant(name);
    accessTokens.add(canary);
    return canary;
  }

  async function call(method: string, path: string, body?: unknown): Promise<Answer> {
    const answer = await stack.call(method, path, body);
    (answer.status >= 400 ? problems : otherAnswers).push(answer);
    return answer;
  }

  async function addApp(members: Record<string, unknown>): Promise<string> {
    const id = `app-${randomUUID()}`;
    const answer = await call('PUT', `/v1/apps/${id}`, {
      provider: 'generic',
      client_id: 'client',
      client_secrets: [plant('client-secret'), plant('older-client-secret')],
      ...members,
    });
    expect(answer.status).toBe(201);
    return id;
  }

  async function addConnection(members: Record<string, unknown> = {}): Promise<string> {
    const id = `c-${randomUUID()}`;
    const answer = await call('PUT', `/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: appId,
      access_token: plantAccessToken('imported-access'),
      refresh_token: plant('imported-refresh'),
      expires_in: 0,
      ...members,
    });
    expect(answer.status).toBe(201);
    return id;
  }

  const getToken = (id: string) => call('GET', `/v1/connections/${id}/token?wait_seconds=3`);
  const forceRefresh = (id: string) =>
    call('POST', `/v1/connections/${id}/token/refresh`, { force: true, wait_seconds: 30 });

  /** An answer that holds canaries and brings tokens. */
  const goodAnswer = (): Step => ({
    body: {
      access_token: plantAccessToken('issued-access'),
      refresh_token: plant('issued-refresh'),
      id_token: plant('id-token'),
      token_type: 'Bearer',
      expires_in: 3_600,
      device_secret: plant('device-secret'),
    },
  });

  /** Every way to answer without tokens, each telling secrets. */
  function badAnswers(): [string, Step][] {
    const json = (status: number, body: object): Step => ({ status, body });
    const text = (status: number, body: string, headers: Record<string, string>): Step => ({
      status,
      headers,
      body,
    });
    const html = { 'content-type': 'text/html' };
    const asJson = { 'content-type': 'application/json' };
    return [
      [
        'invalid_grant with a description',
        json(400, {
          error: 'invalid_grant',
          error_description: `Token ${plant('described')} was revoked`,
          error_uri: `https://as.example.com/?token=${plant('error-uri')}`,
          refresh_token_hint: plant('hint'),
        }),
      ],
      ['an error that is a secret', json(400, { error: plant('error-member') })],
      [
        'invalid_client',
        json(401, { error: 'invalid_client', error_description: plant('client-described') }),
      ],
      ['a challenge', text(401, '', { 'www-authenticate': `Basic realm="${plant('challenge')}"` })],
      ['a page', text(500, `<html><h1>${plant('page')}</h1></html>`, html)],
      ['a page with status 200', text(200, `<html>${plant('page-200')}</html>`, html)],
      ['broken JSON', text(200, `{"access_token":"${plant('broken')}", oops`, asJson)],
      ['no JSON at all', text(200, plant('bare'), asJson)],
      ['a redirect', text(307, '', { location: `${endpoint.url}?code=${plant('location')}` })],
      [
        'a limit',
        text(429, plant('limit'), { 'retry-after': plant('retry-after'), 'x-id': plant('header') }),
      ],
      ['a form', text(200, `error=x&refresh=${encodeURIComponent(plant('form'))}`, {})],
      [
        'half an answer',
        {
          truncateAtBytes: 90,
          body: { access_token: plant('truncated'), refresh_token: plant('truncated-refresh') },
        },
      ],
      ['a reset', { drop: { how: 'reset', when: 'before' } }],
    ];
  }

  async function collectPlaces(): Promise<Record<string, string>> {
    const { config } = stack.allInOne.services;
    const { refresh, sweep } = config.temporal.taskQueues;
    const histories = await dumpHistories(stack.temporal, [refresh, sweep]);
    return {
      log: stack.logText(),
      metrics: await metricsText(),
      database: await dumpDatabase(stack.database.pool),
      histories: histories.text,
      problems: problems
        .map(({ headers, body }) => JSON.stringify([[...headers], body]))
        .join('\n'),
    };
  }

  async function findLeaks(): Promise<string[]> {
    const places = Object.entries(await collectPlaces());
    return places.flatMap(([place, text]) =>
      findCanaries(text, canaries).map((found) => `${place}: ${found}`),
    );
  }

  beforeAll(async () => {
    appId = await addApp({ overrides: { token_url: endpoint.url } });
    await stack.database.pool.query(
      `create function refuse_secrets_write() returns trigger language plpgsql as
       $$ begin raise exception 'writes are refused'; end $$`,
    );
  });

  it('are in answers of the token routes only, where refreshes succeed', async () => {
    for (const clientAuth of ['basic', 'post']) {
      appId = await addApp({
        overrides: { token_url: endpoint.url, client_auth: clientAuth },
      });
      const id = await addConnection();
      endpoint.script(goodAnswer(), goodAnswer());
      expect((await getToken(id)).status).toBe(200);
      expect((await forceRefresh(id)).status).toBe(200);
      await call('GET', `/v1/connections/${id}`);
    }
    await call('GET', '/v1/connections');
    await call('GET', '/v1/apps');
    await call('GET', `/v1/apps/${appId}`);
    const seen = JSON.stringify(otherAnswers.map(({ body }) => body));
    const secrets = new Map([...canaries].filter(([, value]) => !accessTokens.has(value)));
    expect(findCanaries(seen, secrets)).toEqual([]);
    expect(await findLeaks()).toEqual([]);
  });

  it('are nowhere when refreshes fail, whatever the provider answers', async () => {
    // One of its own: runs that wait for their next attempt come back to it during later tests.
    const failing = await startScriptedTokenEndpoint();
    for (const [name, step] of badAnswers()) {
      // A refused client, or a limit, would keep the others of the same app from being sent.
      const app_id = await addApp({ overrides: { token_url: failing.url } });
      const id = await addConnection({ app_id });
      const before = failing.requests.length;
      failing.script(step, step, step, step);
      const answer = await getToken(id);
      expect(answer.status, `${name}: ${JSON.stringify(answer.body)}`).toBeGreaterThanOrEqual(400);
      expect(failing.requests.length, name).toBeGreaterThan(before);
      await call('GET', `/v1/connections/${id}`);
      failing.clearScript();
    }
    await failing.close();
    expect(await findLeaks()).toEqual([]);
  }, 90_000);

  it('are nowhere when keys sign for the app, and for the connection', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey;
    const pem = rsa.export({ type: 'pkcs8', format: 'pem' }).toString();
    const dpopKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const jwk = dpopKey.export({ format: 'jwk' });
    // As JSON writes it or not: a line of the PEM has no line ends.
    canaries.set('private-key', pem.split('\n')[5] ?? '');
    canaries.set('dpop-key', jwk.d ?? '');
    const app_id = await addApp({
      private_key: pem,
      overrides: { token_url: endpoint.url, client_auth: 'private_key_jwt', dpop: true },
    });
    const id = await addConnection({ app_id, dpop_key: jwk });
    endpoint.script(
      { status: 400, headers: { 'dpop-nonce': 'nonce' }, body: { error: 'use_dpop_nonce' } },
      goodAnswer(),
    );
    expect((await getToken(id)).status).toBe(200);
    const [first, second] = endpoint.requests.slice(-2);
    expect(second?.params['refresh_token']).toBe(first?.params['refresh_token']);
    expect(second?.params['client_assertion']).not.toBe(first?.params['client_assertion']);
    await call('GET', `/v1/connections/${id}`);
    await call('GET', `/v1/apps/${app_id}`);
    expect(
      findCanaries(JSON.stringify(otherAnswers.map(({ body }) => body)), canaries),
    ).not.toContain('private-key');
    expect(await findLeaks()).toEqual([]);
  });

  it('are nowhere when a new refresh token comes in a broken answer', async () => {
    const id = await addConnection();
    endpoint.script(
      { body: { refresh_token: plant('rotated-alone'), note: plant('note') } },
      goodAnswer(),
    );
    expect((await getToken(id)).status).toBe(200);
    expect(await findLeaks()).toEqual([]);
  });

  it('are nowhere when a run is terminated, and when its answer lies sealed in the history', async () => {
    const terminated = await addConnection();
    let release = (): void => undefined;
    const hold = new Promise<void>((resolve) => {
      release = resolve;
    });
    endpoint.script({ ...goodAnswer(), hold });
    const arrived = endpoint.waitForRequests(endpoint.requests.length + 1);
    const caller = forceRefresh(terminated);
    await arrived;
    await stack.temporal.workflow
      .getHandle(refreshWorkflowId(terminated))
      .terminate('seen by the test');
    release();
    expect((await caller).status).toBe(200);

    const sealed = await addConnection();
    endpoint.script({ ...goodAnswer(), delayMs: 500 });
    const arrivedToo = endpoint.waitForRequests(endpoint.requests.length + 1);
    const callerToo = forceRefresh(sealed);
    await arrivedToo;
    await stack.database.pool.query(
      `create trigger refuse_secrets_write before update on connections
       for each row execute function refuse_secrets_write()`,
    );
    await expect
      .poll(async () => (await stack.historyOf(sealed)).includes('"next":"store"'), {
        timeout: 20_000,
      })
      .toBe(true);
    expect(await findLeaks()).toEqual([]);
    await stack.database.pool.query('drop trigger refuse_secrets_write on connections');
    expect((await callerToo).status).toBe(200);
    expect(await findLeaks()).toEqual([]);
  }, 60_000);

  it('are nowhere when a connection is revoked, nor when keys are rotated and all is sealed anew', async () => {
    const revoking = await addApp({
      overrides: { token_url: endpoint.url, revoke_url: `${endpoint.url}/revoke-nowhere` },
    });
    const deleted = await addConnection({ app_id: revoking });
    expect((await call('DELETE', `/v1/connections/${deleted}`)).status).toBeLessThan(300);
    const kept = await addConnection();
    endpoint.script(goodAnswer());
    expect((await getToken(kept)).status).toBe(200);

    const { config, pool } = stack.allInOne.services;
    const store = createDataKeyStore(pool);
    const keyProviders = await loadKeyProviders(config.keys);
    await rotateDataKeys({ store, keyProviders }, replaceablePurposes);
    const sweepQueue = config.temporal.taskQueues.sweep;
    await startReseal(stack.temporal, { sweepQueue, rowsPerSecond: 1_000, settleMs: 0 });
    const summary = await followReseal(stack.temporal, sweepQueue, () => undefined);
    // All but the three rows that the tests before have swapped.
    expect(summary).toMatchObject({ left: 3 });
    expect(summary.resealed).toBeGreaterThan(2);
    expect((await getToken(kept)).status).toBe(200);
    // Both queues had runs, which are listed a moment after they have begun.
    const isListed = async (type: string) => {
      const query = `WorkflowType = '${type}' and TaskQueue = '${sweepQueue}'`;
      return (await stack.temporal.workflow.count(query)).count > 0;
    };
    await expect.poll(() => isListed('resealConnections'), { timeout: 15_000 }).toBe(true);
    await expect.poll(() => isListed('revokeConnection'), { timeout: 15_000 }).toBe(true);
    expect(await findLeaks()).toEqual([]);
  }, 60_000);

  it('are nowhere when requests that hold them are refused', async () => {
    const path = `/v1/connections/c-${randomUUID()}`;
    const body = { tenant_id: 'tenant', app_id: appId };
    await call('PUT', path, { ...body, refresh_token: [plant('in-a-list')] });
    await call('PUT', path, { ...body, expires_in: plant('as-a-number') });
    await call('PUT', path, { ...body, [plant('as-a-name')]: 1 });
    await call('PUT', path, { ...body, app_id: 'nobody', refresh_token: plant('no-app') });
    await call('PUT', `/v1/apps/app-${randomUUID()}`, {
      provider: 'nobody',
      client_id: 'client',
      client_secrets: [plant('no-provider')],
    });
    await call('GET', `${path}/token?access_token=${encodeURIComponent(plant('in-a-query'))}`);
    const response = await fetch(`${stack.origin}${path}`, {
      method: 'PUT',
      headers: {
        'content-type': 'application/json',
        authorization: `Bearer ${plant('bearer')}`,
        cookie: `session=${plant('cookie')}`,
      },
      body: `{"refresh_token":"${plant('broken-body')}`,
    });
    const headers = response.headers;
    problems.push({
      status: response.status,
      headers,
      body: (await response.json()) as Record<string, unknown>,
    });
    expect(problems.slice(-7).map(({ status }) => status)).toEqual([
      400, 400, 400, 404, 404, 400, 400,
    ]);
    expect(await findLeaks()).toEqual([]);
  });

  it('were looked for in every place: a leak of each kind is found', async () => {
    expect(canaries.size).toBeGreaterThan(50);
    const { services } = stack.allInOne;
    const canary = plant('leaked');
    const bytes = Buffer.from(canary);
    services.log.info({ note: `about ${canary}` }, 'planted');
    problems.push({
      status: 400,
      headers: new Headers(),
      body: { detail: encodeURIComponent(canary) },
    });
    services.metrics.providerRequests.inc({ provider: bytes.toString('hex'), class: 'none' });
    const id = await addConnection({ metadata: { note: `x${canary}` } });
    await stack.database.pool.query(
      'update connections set refresh_fingerprint = $2 where id = $1',
      [id, Buffer.concat([Buffer.alloc(5), bytes])],
    );
    const run = await stack.temporal.workflow.start('planted', {
      taskQueue: services.config.temporal.taskQueues.refresh,
      workflowId: `planted-${randomUUID()}`,
      args: [{ connectionId: canary }],
      // No worker is to meet it.
      startDelay: '1 hour',
    });
    await run.terminate('seen by the test');
    // The list of runs trails the histories by a moment; when it shows this one, it shows all before.
    const placesOf = (leaks: string[]) => [...new Set(leaks.map((leak) => leak.split(':')[0]))];
    const places = ['log', 'metrics', 'database', 'histories', 'problems'];
    await expect.poll(async () => placesOf(await findLeaks()), { timeout: 15_000 }).toEqual(places);
    expect((await findLeaks()).filter((leak) => !leak.includes(': leaked '))).toEqual([]);
  });
});
