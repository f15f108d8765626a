import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

/** What is held for the sake of the exchange is older than this. */
const heldMs = 400;

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;
let appId: string;

beforeAll(async () => {
  [stack, endpoint] = await Promise.all([startTestStack(), startScriptedTokenEndpoint()]);
  appId = await stack.addApp(endpoint.url);
});
afterAll(async () => {
  await stack.close();
  await endpoint.close();
});
afterEach(() => {
  endpoint.clearScript();
});

/** A refresh whose request has arrived at the provider, and whose answer waits. */
async function askAndHold(id: string) {
  let release = (): void => undefined;
  const hold = new Promise<void>((resolve) => (release = resolve));
  endpoint.script({ hold });
  const arrived = endpoint.waitForRequests(endpoint.requests.length + 1);
  const caller = stack.getToken(id, '?wait_seconds=30');
  await arrived;
  return { caller, release };
}

describe('while the provider is asked', () => {
  it('no transaction and no lock is held in PostgreSQL', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    const { caller, release } = await askAndHold(id);
    // Statements that come and go meanwhile are younger, and an advisory lock needs no transaction.
    await sleep(2 * heldMs);
    const { rows: transactions } = await stack.database.pool.query(
      `select state, query from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid()
         and xact_start < clock_timestamp() - make_interval(secs => $1::double precision / 1000)`,
      [heldMs],
    );
    const { rows: locks } = await stack.database.pool.query(
      `select l.locktype, a.query from pg_locks l join pg_stat_activity a using (pid)
       where a.datname = current_database() and l.locktype = 'advisory'`,
    );
    release();
    expect((await caller).status).toBe(200);
    expect({ transactions, locks }).toEqual({ transactions: [], locks: [] });
  });

  it('a write that is about something else costs no token', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    const { caller, release } = await askAndHold(id);
    const put = await stack.call('PUT', `/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: appId,
      metadata: { note: 'written meanwhile' },
    });
    expect(put.status).toBe(200);
    release();
    expect((await caller).body).toMatchObject({ token_version: 2 });
    // The pair that came back is stored, and so is what was written.
    const next = await stack.refresh(id, { force: true });
    expect(next.body).toMatchObject({
      token_version: 3,
      metadata: { note: 'written meanwhile' },
    });
    expect(endpoint.truth()).toMatchObject({ reuse: 0, familyRevocations: 0 });
  });
});

describe('an exchange', () => {
  it('sends nothing while PostgreSQL takes no writes', async () => {
    const granted = endpoint.grant();
    const id = await stack.addConnection(appId, granted);
    await stack.database.pool.query(
      `create function refuse_claims() returns trigger language plpgsql as
         $$ begin raise exception 'no space left on device' using errcode = '53100'; end $$;
       create trigger refuse_claims before insert or update on refresh_intents for each row
         execute function refuse_claims()`,
    );
    const refused = await stack.getToken(id, '?wait_seconds=3');
    expect(refused.body).toMatchObject({ status: 503, retryable: true });
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(0);
    await stack.database.pool.query('drop trigger refuse_claims on refresh_intents');
    expect((await stack.getToken(id, '?wait_seconds=30')).status).toBe(200);
    expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
  });

  it('counts the expiry from when it was sent, however late the answer', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    const answer = { access_token: 'at-late', token_type: 'Bearer', expires_in: 600 };
    endpoint.script({ delayMs: 3_000, body: answer });
    const { body } = await stack.getToken(id, '?wait_seconds=30');
    expect(body['expires_in']).toBeLessThanOrEqual(597);
    expect(body['expires_in']).toBeGreaterThan(500);
  });

  it('stores the tokens that come beside what no database takes', async () => {
    const own = await stack.addApp(endpoint.url, { response: { metadata: ['/note'] } });
    const id = await stack.addConnection(own, endpoint.grant());
    const rotated = endpoint.grant();
    endpoint.script({
      body: {
        access_token: rotated.accessToken,
        refresh_token: rotated.refreshToken,
        token_type: 'Bea\u0000rer',
        scope: 'a\u0000b',
        refresh_token_expires_in: 1e300,
        note: ['\u0000', '\ud800'],
      },
    });
    expect((await stack.getToken(id)).body).toMatchObject({
      access_token: rotated.accessToken,
      token_type: 'Bearer',
      scope: null,
    });
    expect((await stack.refresh(id, { force: true })).status).toBe(200);
    expect(endpoint.sendsOf(rotated.refreshToken)).toBe(1);
  });

  it('of a request that the provider calls invalid is a typed problem, and no verdict', async () => {
    const own = await stack.addApp(endpoint.url);
    const id = await stack.addConnection(own, endpoint.grant());
    endpoint.script({ status: 400, body: { error: 'invalid_request' } });
    const { body } = await stack.getToken(id);
    expect(body).toMatchObject({ status: 409, code: 'app_misconfigured', remedy: 'fix_app' });
    const connection = await stack.call('GET', `/v1/connections/${id}`);
    expect(connection.body).toMatchObject({ status: 'active', reason: 'app_misconfigured' });
  });
});
