import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, it, vi, type ExpectStatic } from 'vitest';
import { sweepWorkflowType } from '../../client/contract.ts';
import type { Fault } from '../support/fault-proxy.ts';
import { startRotationServer, type RotationServer } from '../support/rotation-server.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';
import { heldExchange } from './held-exchange.ts';
import { connectRevocable, type RevocableConnection } from './revocable-connection.ts';
import { createStepHolds, type StepHolds } from './step-holds.ts';

// These mostly wait, for answers that are held back and for settling. A busy machine may take its time.
vi.setConfig({ maxConcurrency: 8, testTimeout: 180_000, hookTimeout: 120_000 });

const soon = { timeout: 60_000 };
const classes = ['S', 'L', 'T30', 'C', 'X', 'F'];

let stack: TestStack;
/** Where the end of a refresh token is the end of its grant. */
let lenient: RotationServer;
/** Where it ends nothing else, so that each token has to be revoked by itself. */
let strict: RotationServer;
let holds: StepHolds;

beforeAll(async () => {
  [stack, lenient, strict] = await Promise.all([
    startTestStack(),
    startRotationServer(),
    startRotationServer({ revocationEnds: 'token' }),
  ]);
  holds = await createStepHolds(stack.database.pool);
});
afterAll(async () => {
  await stack.close();
  await lenient.close();
  await strict.close();
});

/** Deletes it, and waits until that has an end; nothing of it may be live or readable then. */
async function disconnect(
  connection: RevocableConnection,
  { release, expect, live = 0 }: { release: () => unknown; expect: ExpectStatic; live?: number },
): Promise<void> {
  expect((await connection.remove()).status).toBe(202);
  expect((await stack.getToken(connection.id)).status).toBe(404);
  await release();
  await connection.untilDone();
  expect(connection.live()).toBe(live);
}

function promiseToRelease(): { released: Promise<void>; release: () => void } {
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  return { released, release };
}

describe.concurrent('a connection disconnected', () => {
  const whereRequestIs: [string, (until: Promise<unknown>) => Fault][] = [
    ['before the provider has the request', (until) => ({ kind: 'hold', when: 'before', until })],
    ['before the answer has come', (until) => ({ kind: 'hold', when: 'after', until })],
    ['before the answer is lost', (until) => ({ kind: 'drop', when: 'after', until })],
  ];
  const cases = classes.flatMap((name) =>
    whereRequestIs.map(([step, fault]) => [name, step, fault] as const),
  );

  it.for(cases)(
    'class %s, %s: nothing of it stays valid',
    async ([clientId, step, faultOf], { expect }) => {
      const isLost = step.endsWith('lost');
      const server = isLost ? lenient : strict;
      const connection = await connectRevocable({ stack, server }, clientId);
      const { released, release } = promiseToRelease();
      connection.inject(faultOf(released));
      const caller = stack.getToken(connection.id, '?wait_seconds=30');
      await expect.poll(() => connection.sends(), soon).toBeGreaterThan(0);
      if (!step.endsWith('request')) {
        await expect.poll(() => connection.truth()?.exchanges, soon).toBe(1);
      }
      // Of class X an answer that is lost takes the new token with it: nobody has it to revoke, or to use.
      const live = isLost && clientId === 'X' ? 1 : 0;
      await disconnect(connection, { release, expect, live });
      expect((await caller).status).toBe(404);
    },
  );

  it.for(['L', 'F'])(
    'class %s, before its claim: nothing is sent',
    async (clientId, { expect }) => {
      const connection = await connectRevocable({ stack, server: strict }, clientId);
      const held = await holds.hold('gate', connection.appId);
      const caller = stack.getToken(connection.id, '?wait_seconds=30');
      await held.reached();
      await disconnect(connection, { release: () => held.release(), expect });
      expect((await caller).status).toBe(404);
      expect(connection.sends()).toBe(0);
    },
  );

  it.for([
    ['L', 'claim', 'between its claim and its send'],
    ['F', 'claim', 'between its claim and its send'],
    // Not L: its old token lives on beside the new one, and nobody has it any more.
    ['X', 'commit', 'while its tokens are stored'],
    ['F', 'commit', 'while its tokens are stored'],
  ] as const)('class %s, at the %s, %s: nothing of it stays valid', async (given, { expect }) => {
    const [clientId, step] = given;
    const connection = await connectRevocable({ stack, server: strict }, clientId);
    const held = await holds.hold(step, connection.id);
    const caller = stack.getToken(connection.id, '?wait_seconds=30');
    await held.reached();
    // It waits for the row, and comes right after.
    const deleting = connection.remove();
    await sleep(200);
    await held.release();
    expect((await deleting).status).toBe(202);
    await connection.untilDone();
    // The caller may have got the token before it was deleted.
    await caller;
    expect(connection.live()).toBe(0);
    expect((await stack.getToken(connection.id)).status).toBe(404);
  });

  it.for(['C', 'T30', 'F'])(
    'class %s, while a lost answer is made up for: nothing of it stays valid',
    async (clientId, { expect }) => {
      const connection = await connectRevocable({ stack, server: lenient }, clientId);
      const { released, release } = promiseToRelease();
      connection.inject({ kind: 'drop', when: 'after' });
      connection.inject({ kind: 'hold', when: 'before', until: released });
      const caller = stack.getToken(connection.id, '?wait_seconds=30');
      await expect.poll(() => connection.sends(), soon).toBe(2);
      await disconnect(connection, { release, expect });
      expect((await caller).status).toBe(404);
    },
  );

  it.for(['L', 'F'])(
    'class %s, after its process died with the answer: nothing of it stays valid',
    async (clientId, { expect }) => {
      const connection = await connectRevocable({ stack, server: lenient }, clientId);
      await heldExchange({ stack, server: lenient }, connection);
      expect(connection.truth()?.exchanges).toBe(1);
      await disconnect(connection, { release: () => undefined, expect });
    },
  );

  it('by a process that holds the answer until all is done: its tokens are revoked all the same', async ({
    expect,
  }) => {
    const connection = await connectRevocable({ stack, server: strict }, 'L');
    const held = await heldExchange({ stack, server: strict }, connection);
    // What nobody knows of is live; what the closing exchange brought is not.
    await disconnect(connection, { release: () => undefined, expect, live: 1 });
    expect(await held.commit()).toBe('superseded');
    await stack.database.pool.query(
      `update revocations set next_attempt_at = now() - interval '3 minutes'
       where connection_id = $1 and state = 'pending'`,
      [connection.id],
    );
    await stack.temporal.workflow.execute(sweepWorkflowType, {
      workflowId: `sweep-${crypto.randomUUID()}`,
      taskQueue: stack.allInOne.services.config.temporal.taskQueues.sweep,
    });
    await expect.poll(() => connection.live(), soon).toBe(0);
    expect((await stack.getToken(connection.id)).status).toBe(404);
  });

  it('between two tries, sends nothing any more', async ({ expect }) => {
    const connection = await connectRevocable({ stack, server: strict }, 'F');
    const headers = { 'retry-after': '4' };
    connection.inject({ kind: 'answer', when: 'before', status: 503, headers });
    const caller = stack.getToken(connection.id, '?wait_seconds=20');
    await expect
      .poll(async () => (await connection.row())?.['failure_code'], soon)
      .toBe('http_503');
    await disconnect(connection, { release: () => undefined, expect });
    expect((await caller).status).toBe(404);
    expect(connection.sends()).toBe(1);
  });

  it('while its tokens cannot be stored, both refresh tokens are revoked', async ({ expect }) => {
    const connection = await connectRevocable({ stack, server: strict }, 'F');
    // Writes of tokens fail as if the right to write were gone; the deletion writes none.
    await stack.database.pool.query(
      `create function refuse_tokens() returns trigger language plpgsql as $$ begin
         raise exception 'refused' using errcode = '42501'; end $$;
       create trigger refuse_tokens before update on connections for each row
         when (new.id = '${connection.id}' and new.sealed_refresh_token is distinct from
           old.sealed_refresh_token and new.sealed_refresh_token is not null)
         execute function refuse_tokens()`,
    );
    const caller = stack.getToken(connection.id, '?wait_seconds=5');
    await expect.poll(() => connection.truth()?.exchanges, soon).toBe(1);
    await sleep(500);
    await disconnect(connection, { release: () => undefined, expect });
    await caller;
    const { rows } = await stack.database.pool.query(
      'select state from revocations where connection_id = $1',
      [connection.id],
    );
    expect(rows).toEqual([{ state: 'done' }, { state: 'done' }]);
  });
});
