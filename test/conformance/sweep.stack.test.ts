import { randomUUID } from 'node:crypto';
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { refreshWorkflowId, sweepWorkflowType } from '../../client/contract.ts';
import { sweepScheduleId } from '../../worker/sweep-schedule.ts';
import {
  answerError,
  answerTokens,
  startCountingProvider,
  type CountingProvider,
} from '../support/counting-provider.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

// A busy machine may take its time.
vi.setConfig({ testTimeout: 180_000 });

const daySeconds = 86_400;
const hourSeconds = 3_600;

let stack: TestStack;
let provider: CountingProvider;

beforeAll(async () => {
  [stack, provider] = await Promise.all([
    startTestStack(),
    startCountingProvider({ answerMs: 0, expiresInSeconds: hourSeconds }),
  ]);
  // The due-time invariant: whatever happens to a connection, nobody writes a due time that has passed.
  await stack.database.pool.query(
    `create table due_faults (id text, due timestamptz, at timestamptz);
     create function watch_due() returns trigger language plpgsql as $$ begin
       if new.refresh_due_at is distinct from old.refresh_due_at
         and new.refresh_due_at < clock_timestamp() - interval '1 second' then
         insert into due_faults values (new.id, new.refresh_due_at, clock_timestamp());
       end if;
       return new; end $$;
     create trigger watch_due before update on connections for each row execute function watch_due()`,
  );
});
afterAll(async () => {
  await stack.close();
  await provider.close();
});

interface Swept {
  started: number;
  refreshed: number;
  putOff: number;
}

/** One turn of the sweep, as its Schedule starts it. It ends after every refresh that it has started. */
function startSweep(): Promise<WorkflowHandle<() => Promise<Swept>>> {
  return stack.temporal.workflow.start<() => Promise<Swept>>(sweepWorkflowType, {
    args: [],
    workflowId: `sweep-${randomUUID()}`,
    taskQueue: stack.allInOne.services.config.temporal.taskQueues.sweep,
  });
}

async function sweep(): Promise<Swept> {
  return (await startSweep()).result();
}

function rowOf(id: string): Promise<Record<string, unknown>> {
  return stack.database.pool
    .query<Record<string, unknown>>('select * from connections where id = $1', [id])
    .then(({ rows }) => rows[0] ?? {});
}

/** So that the row is as it would be so many seconds from now; past the watch. */
async function letPass(id: string, seconds: number): Promise<void> {
  const columns = ['refresh_due_at', 'reauthorize_by', 'reauthorize_notice_at', 'next_attempt_at'];
  const moved = columns.map((column) => `${column} = ${column} - make_interval(secs => $2)`);
  const client = await stack.database.pool.connect();
  await client.query('begin');
  await client.query('set local session_replication_role = replica');
  await client.query(`update connections set ${moved.join(', ')} where id = $1`, [id, seconds]);
  await client.query('commit');
  client.release();
}

/** Of the newest run of its refresh, as Temporal has it. */
async function priorityOf(id: string): Promise<object | undefined> {
  const run = await stack.temporal.workflow.getHandle(refreshWorkflowId(id)).describe();
  return run.priority;
}

async function secondsUntilDue(id: string): Promise<number> {
  const due = (await rowOf(id))['refresh_due_at'] as Date;
  return (due.getTime() - Date.now()) / 1_000;
}

async function eventsOf(id: string): Promise<{ type: string; data: unknown }[]> {
  const { rows } = await stack.database.pool.query<{ type: string; data: unknown }>(
    'select type, data from events where connection_id = $1 order by id',
    [id],
  );
  return rows;
}

async function connect(
  overrides: Record<string, unknown> = {},
  members: Record<string, unknown> = {},
) {
  const appId = await stack.addApp(provider.url, {
    rotation: { class: 'F' },
    limits: { min_interval_seconds: 0 },
    ...overrides,
  });
  const refreshToken = `rt-${randomUUID()}`;
  const tokens = { accessToken: `at-${randomUUID()}`, refreshToken };
  const id = await stack.addConnection(appId, tokens, members);
  return { id, appId, refreshToken };
}

describe('the sweep', () => {
  it('refreshes what is due before anybody asks, and nothing else', async () => {
    const due = await connect({}, { expires_in: hourSeconds });
    const fresh = await connect({}, { expires_in: hourSeconds });
    const paused = await connect({}, { expires_in: hourSeconds });
    await letPass(due.id, 3_350);
    await letPass(paused.id, 3_350);
    await stack.call('POST', `/v1/connections/${paused.id}/pause`);
    expect(await sweep()).toMatchObject({ started: 1, refreshed: 1 });
    expect([due, fresh, paused].map((one) => provider.sendsOf(one.refreshToken))).toEqual([
      1, 0, 0,
    ]);
    const { body } = await stack.call('GET', `/v1/connections/${due.id}/attempts`);
    expect(body['items']).toMatchObject([{ outcome: 'refreshed', trigger: 'sweep' }]);
    expect(await secondsUntilDue(due.id)).toBeGreaterThan(3_200);
    // Of those who wait, callers go first, and the tenants of a sweep take turns.
    expect(await priorityOf(due.id)).toMatchObject({ priorityKey: 4, fairnessKey: 'tenant' });
    await stack.refresh(fresh.id, { force: true });
    expect(await priorityOf(fresh.id)).toMatchObject({ priorityKey: 2, fairnessKey: 'tenant' });
    expect(await sweep()).toMatchObject({ started: 0 });
  });

  it('R42 an idle refresh token that lives 60 days is used on day 55, once', async () => {
    const { id, refreshToken } = await connect(
      { lifetime: { refresh_token_idle_seconds: 60 * daySeconds }, expiry: { never: true } },
      { expires_in: undefined },
    );
    expect(await rowOf(id)).toMatchObject({ expires_at: null });
    provider.script(refreshToken, (response) =>
      answerTokens(response, { refresh_token: 'rt-kept-alive' }),
    );
    await letPass(id, 54 * daySeconds);
    expect(await sweep()).toMatchObject({ started: 0 });
    await letPass(id, daySeconds);
    expect(await sweep()).toMatchObject({ started: 1, refreshed: 1 });
    expect(provider.sendsOf(refreshToken)).toBe(1);
    expect(await sweep()).toMatchObject({ started: 0 });
    expect(await secondsUntilDue(id)).toBeGreaterThan(54 * daySeconds);
  });

  it('R43 tells once that a grant of a known end is near it, and no refresh puts that off', async () => {
    const { id } = await connect(
      { lifetime: { refresh_token_absolute_seconds: 365 * daySeconds } },
      { expires_in: hourSeconds },
    );
    const { reauthorize_by: endsAt } = await rowOf(id);
    expect((await stack.refresh(id, { force: true })).body).toMatchObject({ token_version: 2 });
    expect((await rowOf(id))['reauthorize_by']).toEqual(endsAt);
    const toldOf = async () => (await eventsOf(id)).map(({ type }) => type);
    await letPass(id, 357 * daySeconds);
    await sweep();
    expect(await toldOf()).toEqual([]);
    await letPass(id, 2 * daySeconds);
    for (let turn = 0; turn < 2; turn += 1) await sweep();
    expect((await stack.refresh(id, { force: true })).status).toBe(200);
    await sweep();
    expect(await toldOf()).toEqual(['connection.reauthorize_soon']);
    const [event] = await eventsOf(id);
    expect(event?.data).toHaveProperty('reauthorize_by');
  });

  it('R54 a scope narrower than the stored one is stored, and told of', async () => {
    const { id, refreshToken } = await connect({}, { scope: 'read write', expires_in: 0 });
    provider.script(refreshToken, (response) =>
      answerTokens(response, { scope: 'read', expires_in: hourSeconds }),
    );
    await letPass(id, 2);
    await sweep();
    expect(await rowOf(id)).toMatchObject({ scope: 'read' });
    expect(await eventsOf(id)).toEqual([
      { type: 'connection.scope_changed', data: { removed: ['write'], added: [] } },
    ]);
  });

  it('resolves an uncertain connection when its class allows, without a caller', async () => {
    const { id, refreshToken } = await connect({}, { expires_in: 62 });
    // The first answer is lost; what the provider does with the token then is its own affair.
    provider.script(refreshToken, (response) => {
      provider.script(refreshToken, (again) => answerError(again, 400, { error: 'invalid_grant' }));
      response.destroy();
    });
    await stack.refresh(id, { force: true, wait_seconds: 15 });
    expect(await rowOf(id)).toMatchObject({ verdict: null });
    expect((await rowOf(id))['uncertain_since']).not.toBeNull();
    expect(provider.sendsOf(refreshToken)).toBe(1);
    await expect
      .poll(() => sweep().then(() => rowOf(id)), { timeout: 60_000, interval: 500 })
      .toMatchObject({ verdict: 'lost_rotation', refresh_due_at: null });
    expect(provider.sendsOf(refreshToken)).toBe(2);
  });

  it('leaves what fails alone for longer each time, up to a quarter of an hour', async () => {
    const { id, refreshToken } = await connect({}, { expires_in: 0 });
    provider.script(refreshToken, (response) => answerError(response, 503, {}));
    await stack.database.pool.query('update connections set failure_count = 6 where id = $1', [id]);
    await letPass(id, 2);
    // Its run may sleep and try again, for a minute and more.
    const turn = await startSweep();
    await expect.poll(async () => (await rowOf(id))['failure_code']).toBe('http_503');
    await expect.poll(() => secondsUntilDue(id)).toBeGreaterThan(200);
    await turn.terminate('seen enough');
    const { rows } = await stack.database.pool.query(
      `update connections set paused_at = now() where id = $1 returning id`,
      [id],
    );
    expect(rows).toHaveLength(1);
  });

  it('is started by a Schedule, which every worker finds as it is', async () => {
    const { config } = stack.allInOne.services;
    config.temporal.sweep = { ...config.temporal.sweep, enabled: true, everySeconds: 3_600 };
    await stack.addWorker();
    await stack.addWorker();
    const schedule = stack.temporal.schedule.getHandle(
      sweepScheduleId(config.temporal.taskQueues.sweep),
    );
    await expect
      .poll(() => schedule.describe().then(({ policies }) => policies.overlap), { timeout: 10_000 })
      .toBe('SKIP');
    const { id, refreshToken } = await connect({}, { expires_in: 0 });
    await letPass(id, 2);
    await schedule.trigger();
    await expect.poll(() => provider.sendsOf(refreshToken), { timeout: 10_000 }).toBe(1);
    await expect.poll(() => secondsUntilDue(id)).toBeGreaterThan(3_000);
    await schedule.delete();
  });

  it('has never seen a due time that was written into the past', async () => {
    const { rows } = await stack.database.pool.query('select * from due_faults');
    expect(rows).toEqual([]);
  });
});
