import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const runThatDied = '01890000-0000-7000-8000-000000000000';

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

type Item = Record<string, unknown>;

async function attemptsOf(id: string, query = ''): Promise<{ items: Item[]; body: Item }> {
  const { status, body } = await stack.call('GET', `/v1/connections/${id}/attempts${query}`);
  expect(status).toBe(200);
  return { items: body['items'] as Item[], body };
}

describe('GET /v1/connections/{id}/attempts tells how an attempt ended', () => {
  it('refreshed, with its trigger and the run that made it', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    await stack.getToken(id);
    const first = await stack.describeRun(id);
    await stack.refresh(id, { force: true });
    const second = await stack.describeRun(id);
    const { body } = await attemptsOf(id);
    const ended = { outcome: 'refreshed', class: null, code: null };
    const measured = {
      at: expect.any(String) as string,
      duration_ms: expect.any(Number) as number,
    };
    expect(body).toEqual({
      items: [
        { ...ended, ...measured, trigger: 'force', run_id: second.runId },
        { ...ended, ...measured, trigger: 'read', run_id: first.runId },
      ],
      next_cursor: null,
    });
    const { items } = await attemptsOf(id, '?limit=1');
    expect(items).toMatchObject([{ trigger: 'force' }]);
  });

  it('transient and then refreshed, both in one run', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    endpoint.script({ status: 503, body: { error: 'temporarily_unavailable' } });
    expect((await stack.getToken(id)).status).toBe(200);
    const { runId } = await stack.describeRun(id);
    const { items } = await attemptsOf(id);
    expect(items).toMatchObject([
      { outcome: 'refreshed', class: null, code: null, run_id: runId },
      { outcome: 'waiting', class: 'transient', code: 'temporarily_unavailable', run_id: runId },
    ]);
  });

  it.each<[string, object, object]>([
    [
      'the provider’s verdict',
      { status: 400, body: { error: 'invalid_grant' } },
      { outcome: 'reauthorization_required', class: 'permanent', code: 'invalid_grant' },
    ],
    [
      'a misconfigured app',
      { status: 401, body: { error: 'invalid_client' } },
      { outcome: 'app_misconfigured', class: 'misconfigured', code: 'invalid_client' },
    ],
    [
      'too many requests',
      { status: 429, headers: { 'retry-after': '60' }, body: '' },
      { outcome: 'waiting', class: 'rate_limited', code: 'http_429' },
    ],
    [
      'an answer that is lost',
      { drop: { how: 'reset', when: 'after' } },
      { outcome: 'uncertain', class: 'ambiguous', code: 'ECONNRESET' },
    ],
    [
      'an answer that echoes a secret in place of a code',
      { status: 400, headers: { 'retry-after': '60' }, body: { error: 'client-secret-canary' } },
      { outcome: 'waiting', class: 'transient', code: 'http_400' },
    ],
  ])('%s', async (_name, step, line) => {
    // Of its own, for an app that is paused must not stop the others.
    const own = await stack.addApp(endpoint.url);
    const id = await stack.addConnection(own, endpoint.grant());
    endpoint.script(step);
    await stack.getToken(id, '?wait_seconds=3');
    endpoint.clearScript();
    const { items } = await attemptsOf(id);
    // The oldest: a lost answer is resolved by attempts of its own.
    expect(items.at(-1)).toMatchObject({ ...line, trigger: 'read' });
  });

  it('an attempt that ended with its process, by the run that made it', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    await stack.database.pool.query(
      `with taken as (update connections set attempt = attempt + 1 where id = $1
         returning id, generation, attempt)
       insert into refresh_intents (connection_id, generation, attempt, replays, claim_id,
         workflow_run_id, first_sent_at, sent_at, answer_by)
       select id, generation, attempt, 0, gen_random_uuid(), $2, sent, sent, sent + interval '63 s'
       from taken, (values (now() - interval '5 min')) as sends (sent)`,
      [id, runThatDied],
    );
    await stack.getToken(id, '?wait_seconds=3');
    const { items } = await attemptsOf(id);
    expect(items.at(-1)).toMatchObject({
      outcome: 'uncertain',
      class: 'ambiguous',
      code: 'end_unknown',
      trigger: 'read',
      duration_ms: 63_000,
      run_id: runThatDied,
    });
  });

  it('a refusal to call the address, of which nothing was sent', async () => {
    const own = await stack.addApp('https://169.254.169.254/token');
    const id = await stack.addConnection(own, endpoint.grant());
    await stack.getToken(id);
    const { items } = await attemptsOf(id);
    const line = { class: 'misconfigured', code: 'egress_refused', trigger: 'read' };
    expect(items).toMatchObject([{ outcome: 'app_misconfigured', ...line }]);
  });

  it('nothing before the first, and 404 for a connection there is not', async () => {
    const id = await stack.addConnection(appId, endpoint.grant());
    expect((await attemptsOf(id)).body).toEqual({ items: [], next_cursor: null });
    const missing = await stack.call('GET', '/v1/connections/nobody/attempts');
    expect(missing.body).toMatchObject({ status: 404, code: 'connection_not_found' });
    const cursor = await stack.call('GET', `/v1/connections/${id}/attempts?cursor=abc`);
    expect(cursor.body).toMatchObject({
      code: 'input_validation',
      errors: [{ parameter: 'cursor' }],
    });
  });
});
