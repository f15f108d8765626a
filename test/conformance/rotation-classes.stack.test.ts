import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startFaultProxy, type Fault, type FaultProxy } from '../support/fault-proxy.ts';
import {
  rotationClients,
  startRotationServer,
  type RotationServer,
} from '../support/rotation-server.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const hourSeconds = 3_600;
/** In which a send that nobody may make would have been made. */
const quietMs = 1_000;
const pollMs = 50;

/** The request does not reach the provider, and the connection breaks. */
const lostBefore: Fault = { kind: 'drop', when: 'before' };
/** The provider has acted, and its answer is lost. */
const lostAfter: Fault = { kind: 'drop', when: 'after' };
const unavailable = {
  kind: 'answer',
  when: 'before',
  status: 503,
  headers: { 'retry-after': '0' },
} satisfies Fault;
const falseInvalidGrant: Fault = {
  kind: 'answer',
  when: 'before',
  status: 400,
  body: { error: 'invalid_grant' },
};

// These mostly wait, for back-off and for what must not happen.
vi.setConfig({ maxConcurrency: 12 });

/** A provider of class T whose grace is over by the time that anybody asks. */
const briefGrace = {
  id: 'brief-grace',
  secret: 'brief-grace-secret',
  rule: { class: 'T' as const, graceSeconds: 0.2 },
  introspection: true,
};

let stack: TestStack;
let server: RotationServer;
const closings: (() => Promise<void>)[] = [];

beforeAll(async () => {
  [stack, server] = await Promise.all([
    startTestStack(),
    startRotationServer({ clients: [...rotationClients, briefGrace] }),
  ]);
  // Back-off that never grows: how it does is tested beside it, and these tests would wait for it.
  await stack.database.pool.query(
    `create function forget_failures() returns trigger language plpgsql as
       $$ begin new.failure_count := 0; return new; end $$;
     create trigger forget_failures before update on connections for each row
       execute function forget_failures()`,
  );
});
afterAll(async () => {
  await stack.close();
  await server.close();
  for (const close of closings) await close();
});

/** A connection to the class server, whose refresh token meets the faults in this order. */
async function connect(
  clientId: string,
  options: {
    faults?: Fault[];
    rotation?: Record<string, unknown>;
    overrides?: Record<string, unknown>;
    /** Of the access token that is stored first; expired if absent. */
    validForSeconds?: number;
    tokenUrl?: string;
  } = {},
) {
  const { faults = [], rotation = {}, overrides = {}, validForSeconds = 0 } = options;
  const client = server.clients.find(({ id }) => id === clientId);
  if (client === undefined) throw new Error(`There is no client ${clientId}.`);
  const { rule } = client;
  const appId = await stack.addApp(
    options.tokenUrl ?? server.tokenUrl,
    {
      rotation: {
        class: rule.class,
        ...(rule.class === 'T' ? { grace_seconds: rule.graceSeconds } : {}),
        ...rotation,
      },
      ...(client.introspection ? { introspect_url: server.introspectUrl } : {}),
      limits: { min_interval_seconds: 0 },
      ...overrides,
    },
    client,
  );
  const connectionId = `at-${appId}`;
  const granted = await server.createGrant(connectionId, clientId, hourSeconds);
  const refreshToken = granted.refresh_token;
  const id = await stack.addConnection(
    appId,
    { accessToken: granted.access_token, refreshToken },
    { expires_in: validForSeconds },
  );
  const inExchange = `refresh_token=${refreshToken}`;
  for (const fault of faults) server.proxy.inject(fault, { holding: inExchange });
  const query = (sql: string) => stack.database.pool.query(sql, [id]);
  const sends = (): number => server.proxy.requestsHolding(inExchange);
  return {
    id,
    accessToken: granted.access_token,
    refreshToken,
    inject: (fault: Fault) => server.proxy.inject(fault, { holding: inExchange }),
    /** How often the first refresh token arrived, at the proxy at least. */
    sends,
    probes: () => server.proxy.requestsHolding(`token=${refreshToken}`) - sends(),
    truth: () => server.ledger().connections[connectionId],
    read: () => stack.getToken(id, '?wait_seconds=30'),
    refresh: (body: object) => stack.refresh(id, { wait_seconds: 30, ...body }),
    async status() {
      return (await stack.call('GET', `/v1/connections/${id}`)).body;
    },
    query,
    /** The time in which a process that still holds an answer commits it is over. */
    letSettle: () =>
      query(
        `update refresh_intents set answer_by = answer_by - interval '1 minute' where connection_id = $1`,
      ),
    /** As if it had happened longer ago than any grace. */
    ageFirstSend: () =>
      query(
        `update refresh_intents set first_sent_at = first_sent_at - interval '1 minute' where connection_id = $1`,
      ),
    /** The next generation, and with it the pair that was stored. */
    async expectNextGeneration(version: number) {
      await stack.expire(id);
      const { body } = await stack.getToken(id, '?wait_seconds=30');
      expect(body).toMatchObject({ token_version: version, connection_status: 'active' });
      expect(server.isLive(String(body['access_token']))).toBe(true);
    },
  };
}

type Connected = Awaited<ReturnType<typeof connect>>;

/** Demands a newer token than the valid one, and loses the answer. */
async function loseAnswer(connection: Connected): Promise<void> {
  const { status, body, headers } = await connection.refresh({ force: true });
  expect([status, body['code']]).toEqual([503, 'refresh_uncertain']);
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
}

/** The old token is served, and nothing is sent. */
async function expectUncertain(connection: Connected, sends: number): Promise<void> {
  const { status, body } = await connection.read();
  expect([status, body['connection_status']]).toEqual([200, 'uncertain']);
  expect(body).toMatchObject({ token_version: 1, access_token: connection.accessToken });
  await sleep(quietMs);
  expect(connection.sends()).toBe(sends);
}

async function expectVerdict(connection: Connected, reason: string): Promise<void> {
  const { status, body } = await connection.read();
  expect([status, body['code'], body['reason']]).toEqual([409, 'reauthorization_required', reason]);
  expect(await connection.status()).toMatchObject({ status: 'reauthorization_required', reason });
}

/** A lost answer during whose loss something else happens; resolves when it is lost. */
async function loseAnswerAfter(connection: Connected, meanwhile: () => Promise<unknown>) {
  let release = (): void => undefined;
  const until = new Promise<void>((resolve) => (release = resolve));
  connection.inject({ kind: 'drop', when: 'after', until });
  const refreshed = connection.refresh({ force: true });
  await eventually(() => connection.truth()?.exchanges === 1);
  await meanwhile();
  release();
  return refreshed;
}

function revoke(connection: Connected, clientId: string): Promise<Response> {
  const client = server.clients.find(({ id }) => id === clientId);
  return fetch(server.revokeUrl, {
    method: 'POST',
    body: new URLSearchParams({
      token: connection.refreshToken,
      client_id: clientId,
      client_secret: client?.secret ?? '',
    }),
  });
}

/** Waits for it until the test's time is up. */
async function eventually(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(pollMs);
}

/** Class and code of the newest attempt that brought no tokens. */
async function newestFailure({ query }: Connected): Promise<string> {
  const { rows } = await query(
    `select class || ' ' || code as failure from refresh_log
     where connection_id = $1 and class is not null order by id desc limit 1`,
  );
  return String((rows[0] as { failure: string } | undefined)?.failure);
}

describe.concurrent('rotation classes', () => {
  describe('classes S, L and C, whose old token outlives a lost answer', () => {
    it.for([
      ['S', 1],
      ['S', 2],
      ['L', 1],
      ['L', 2],
      ['C', 1],
      ['C', 4],
    ] as const)('class %s replays after %i lost answers, without a verdict', async ([id, lost]) => {
      const connection = await connect(id, { faults: Array<Fault>(lost).fill(lostAfter) });
      const { body } = await connection.read();
      expect(body).toMatchObject({ token_version: 2, connection_status: 'active' });
      expect(connection.truth()).toMatchObject({
        exchanges: lost + 1,
        answers_lost: lost,
        replays_forbidden: 0,
        family_revocations: 0,
      });
      await connection.expectNextGeneration(3);
      expect(connection.truth()).toMatchObject({ exchanges: lost + 2, replays_forbidden: 0 });
    });

    it.for(['S', 'L', 'C'])('class %s goes on after a 503 on the replay', async (id) => {
      const connection = await connect(id, { faults: [lostAfter, unavailable] });
      expect((await connection.read()).body).toMatchObject({ token_version: 2 });
      expect(connection.sends()).toBe(3);
      await connection.expectNextGeneration(3);
      expect(connection.truth()).toMatchObject({ replays_forbidden: 0 });
    });

    it('class C: the pair that was stored is the one that lives after its first use', async () => {
      const connection = await connect('C', { faults: [lostAfter, lostAfter] });
      const { body } = await connection.read();
      const headers = { authorization: `Bearer ${String(body['access_token'])}` };
      expect((await fetch(`${server.origin}/me`, { headers })).status).toBe(200);
      expect(connection.truth()).toMatchObject({ live_refresh_tokens: 1 });
      await connection.expectNextGeneration(3);
      expect(connection.truth()).toMatchObject({ replays_forbidden: 0 });
    });

    it.for(['S', 'L'])(
      'class %s: invalid_grant on the replay says that the customer has revoked',
      async (id) => {
        const connection = await connect(id);
        await loseAnswerAfter(connection, () => revoke(connection, id));
        await expectVerdict(connection, 'revoked');
        expect(connection.sends()).toBe(2);
      },
    );
  });

  describe('class T', () => {
    it.for([1, 2])(
      'R31 class T(30 s): after %i lost answers a replay inside the budget succeeds, no family revoked',
      async (lost) => {
        const connection = await connect('T30', { faults: Array<Fault>(lost).fill(lostAfter) });
        expect((await connection.read()).body).toMatchObject({
          token_version: 2,
          connection_status: 'active',
        });
        expect(connection.truth()).toMatchObject({
          exchanges: lost + 1,
          replays_allowed: lost,
          replays_forbidden: 0,
          family_revocations: 0,
        });
        // Each replay brought a different pair, and the provider honours the newest only.
        await connection.expectNextGeneration(3);
        expect(connection.truth()).toMatchObject({ replays_forbidden: 0, family_revocations: 0 });
      },
    );

    it('beyond the budget counts as F: the old token is served and nothing is sent', async () => {
      const connection = await connect('T30', { validForSeconds: hourSeconds });
      const forced = await loseAnswerAfter(connection, () => connection.ageFirstSend());
      expect(forced.body).toMatchObject({ code: 'refresh_uncertain' });
      await expectUncertain(connection, 1);
      expect(connection.truth()).toMatchObject({ replays_allowed: 0, family_revocations: 0 });
    });

    it('beyond its grace, with introspection: a spent token is never sent again', async () => {
      const connection = await connect('brief-grace', {
        rotation: { grace_seconds: 30 },
        validForSeconds: hourSeconds,
      });
      const forced = await loseAnswerAfter(connection, async () => {
        await connection.ageFirstSend();
        await sleep(2_000 * briefGrace.rule.graceSeconds);
      });
      expect([forced.body['code'], forced.body['reason']]).toEqual([
        'reauthorization_required',
        'lost_rotation',
      ]);
      expect([connection.sends(), connection.probes()]).toEqual([1, 1]);
      expect(connection.truth()).toMatchObject({ replays_forbidden: 0, family_revocations: 0 });
    });

    it('inside its grace, invalid_grant on the replay is the lost rotation', async () => {
      const connection = await connect('T30');
      await loseAnswerAfter(connection, () => revoke(connection, 'T30'));
      await expectVerdict(connection, 'lost_rotation');
    });
  });

  describe('class X', () => {
    it('a request that was lost on its way is replayed once', async () => {
      const connection = await connect('X', { faults: [lostBefore] });
      expect((await connection.read()).body).toMatchObject({ token_version: 2 });
      expect(connection.sends()).toBe(2);
      await connection.expectNextGeneration(3);
      expect(connection.truth()).toMatchObject({ exchanges: 2, replays_forbidden: 0 });
    });

    it('an answer that was lost is a lost rotation after one replay', async () => {
      const connection = await connect('X', { faults: [lostAfter] });
      await connection.read();
      await expectVerdict(connection, 'lost_rotation');
      expect(connection.sends()).toBe(2);
      expect(connection.truth()).toMatchObject({
        exchanges: 1,
        replays_forbidden: 1,
        replays_after_lost_answer: 1,
      });
    });
  });

  describe('class F with introspection', () => {
    it('a token that lives is sent again', async () => {
      const connection = await connect('F-introspection', { faults: [lostBefore] });
      expect((await connection.read()).body).toMatchObject({ token_version: 2 });
      expect([connection.sends(), connection.probes()]).toEqual([2, 1]);
      await connection.expectNextGeneration(3);
      expect(connection.truth()).toMatchObject({ exchanges: 2, replays_forbidden: 0 });
    });

    it.for([0, hourSeconds])(
      'a token that is spent is never sent again, and the rotation lost; access token valid for %i s',
      async (validForSeconds) => {
        const connection = await connect('F-introspection', {
          faults: [lostAfter],
          validForSeconds,
        });
        const { status, body } = await connection.refresh({ force: true });
        expect([status, body['code'], body['reason']]).toEqual([
          409,
          'reauthorization_required',
          'lost_rotation',
        ]);
        expect([connection.sends(), connection.probes()]).toEqual([1, 1]);
        expect(connection.truth()).toMatchObject({ replays_forbidden: 0, family_revocations: 0 });
        // What is still valid is served.
        expect((await connection.read()).status).toBe(validForSeconds > 0 ? 200 : 409);
      },
    );

    it('no answer to the probe: as without introspection', async () => {
      const connection = await connect('F-introspection', {
        faults: [lostBefore],
        validForSeconds: hourSeconds,
      });
      const { pathname: path } = new URL(server.introspectUrl);
      server.proxy.inject(unavailable, { holding: connection.refreshToken, path });
      await loseAnswer(connection);
      await expectUncertain(connection, 1);
      expect(connection.probes()).toBe(1);
    });
  });

  describe('class F without introspection', () => {
    it('the old token is served until a minute before its end; force hastens nothing', async () => {
      const connection = await connect('F', {
        faults: [lostBefore],
        validForSeconds: hourSeconds,
      });
      await loseAnswer(connection);
      await connection.letSettle();
      await expectUncertain(connection, 1);
      const status = await connection.status();
      expect(status).toMatchObject({ status: 'uncertain' });
      const dueBeforeEndMs =
        Date.parse(String(status['expires_at'])) - Date.parse(String(status['refresh_due_at']));
      expect(dueBeforeEndMs / 1_000).toBeGreaterThan(55);
      expect(dueBeforeEndMs / 1_000).toBeLessThan(65);
      await loseAnswer(connection);
      await expectUncertain(connection, 1);

      // The last minute has come: answered with the old token, and replayed behind it.
      await connection.query(
        `update connections set expires_at = now() + interval '59 seconds', refresh_due_at = now() where id = $1`,
      );
      await eventually(async () => (await connection.refresh({})).body['token_version'] === 2);
      expect(connection.sends()).toBe(2);
      await connection.expectNextGeneration(3);
      expect(connection.truth()).toMatchObject({ exchanges: 2, replays_forbidden: 0 });
    });

    it('the end of the access token lets the replay go', async () => {
      const connection = await connect('F', { faults: [lostBefore], validForSeconds: hourSeconds });
      await loseAnswer(connection);
      await connection.letSettle();
      await stack.expire(connection.id);
      expect((await connection.read()).body).toMatchObject({ token_version: 2 });
      expect(connection.sends()).toBe(2);
    });

    it('a rejected token lets the replay go, and only the current version does', async () => {
      const connection = await connect('F', { faults: [lostBefore], validForSeconds: hourSeconds });
      await loseAnswer(connection);
      await connection.letSettle();
      const outdated = await connection.refresh({ rejected_token_version: 0 });
      expect(outdated.body).toMatchObject({ token_version: 1 });
      expect(connection.sends()).toBe(1);
      const answers = await Promise.all(
        Array.from({ length: 5 }, () => connection.refresh({ rejected_token_version: 1 })),
      );
      for (const { body } of answers) {
        expect(body).toMatchObject({ token_version: 2, connection_status: 'active' });
      }
      expect(connection.sends()).toBe(2);
    });

    it('a provider whose old access token dies is asked again at once', async () => {
      const connection = await connect('F', {
        faults: [lostBefore],
        rotation: { old_access_token_dies: true },
        validForSeconds: hourSeconds,
      });
      const { body } = await connection.refresh({ force: true });
      expect(body).toMatchObject({ token_version: 2, connection_status: 'active' });
      expect(connection.sends()).toBe(2);
    });

    it('a paused connection waits for its resume', async () => {
      const connection = await connect('F', { faults: [lostBefore], validForSeconds: hourSeconds });
      await loseAnswer(connection);
      await connection.letSettle();
      await connection.query('update connections set paused_at = now() where id = $1');
      await stack.expire(connection.id);
      expect((await connection.read()).body).toMatchObject({ code: 'connection_paused' });
      const rejected = await connection.refresh({ rejected_token_version: 1 });
      expect(rejected.body).toMatchObject({ code: 'connection_paused' });
      expect(connection.sends()).toBe(1);
      await connection.query('update connections set paused_at = null where id = $1');
      expect((await connection.read()).body).toMatchObject({ token_version: 2 });
    });

    it('a definition that forbids replays ends with the access token, and no send', async () => {
      const connection = await connect('F', {
        faults: [lostAfter],
        overrides: { ambiguity: { policy: 'never_replay' } },
        validForSeconds: hourSeconds,
      });
      await loseAnswer(connection);
      await connection.letSettle();
      const rejected = await connection.refresh({ rejected_token_version: 1 });
      expect(rejected.body).toMatchObject({ code: 'refresh_uncertain' });
      await stack.expire(connection.id);
      await connection.read();
      await expectVerdict(connection, 'lost_rotation');
      expect(connection.sends()).toBe(1);
      expect(connection.truth()).toMatchObject({ replays_forbidden: 0, family_revocations: 0 });
    });

    it('a replay of a spent token is refused once: the rotation is lost', async () => {
      const connection = await connect('F', { faults: [lostAfter], validForSeconds: hourSeconds });
      await loseAnswer(connection);
      await connection.letSettle();
      await stack.expire(connection.id);
      await connection.read();
      await expectVerdict(connection, 'lost_rotation');
      await stack.refresh(connection.id, { force: true });
      expect(connection.sends()).toBe(2);
      expect(connection.truth()).toMatchObject({
        exchanges: 1,
        replays_forbidden: 1,
        replays_after_lost_answer: 1,
        family_revocations: 1,
      });
    });
  });

  describe('replays of single-use tokens', () => {
    it.for(['X', 'F'])(
      'class %s: three replays without a complete answer, then the rotation is lost',
      { timeout: 90_000 },
      async (id) => {
        const connection = await connect(id, { faults: Array<Fault>(5).fill(lostBefore) });
        await connection.read();
        await expectVerdict(connection, 'lost_rotation');
        expect(connection.sends()).toBe(4);
        expect(connection.truth()).toMatchObject({ exchanges: 0 });
      },
    );

    it.for([
      ['X', 503],
      ['F', 503],
      ['X', 429],
      ['F', 429],
    ] as const)(
      'class %s: a replay that a complete %i answers is not counted',
      { timeout: 90_000 },
      async ([id, status]) => {
        const complete = { ...unavailable, status };
        const connection = await connect(id, {
          faults: [lostBefore, complete, lostBefore, lostBefore],
        });
        expect((await connection.read()).body).toMatchObject({ token_version: 2 });
        expect(connection.sends()).toBe(5);
      },
    );
  });

  describe('a replay that cannot be sent', () => {
    it.for(['S', 'L', 'T30', 'C', 'X', 'F'])(
      'class %s: is not counted, and goes when the provider is back',
      async (id) => {
        let front: FaultProxy = await startFaultProxy(server.origin);
        closings.push(() => front.close());
        const { port } = new URL(front.origin);
        const connection = await connect(id, { tokenUrl: `${front.origin}/token` });
        front.inject({ kind: 'hold', when: 'before', until: new Promise(() => undefined) });
        const read = connection.read();
        await front.waitForRequests(1);
        // The open request breaks, and nobody listens any more.
        await front.close();
        await eventually(
          async () => (await newestFailure(connection)) === 'transient ECONNREFUSED',
        );
        const { rows } = await connection.query(
          'select replays from refresh_intents where connection_id = $1',
        );
        expect(rows).toEqual([{ replays: 0 }]);
        expect(connection.sends()).toBe(0);
        front = await startFaultProxy(server.origin, { port: Number(port) });
        expect((await read).body).toMatchObject({ token_version: 2, connection_status: 'active' });
        expect(connection.sends()).toBe(1);
        expect(connection.truth()).toMatchObject({ exchanges: 1, replays_forbidden: 0 });
      },
    );
  });

  describe('a provider known to say invalid_grant falsely', () => {
    const overrides = { ambiguity: { confirm_after_seconds: 1 } };

    it('that says it once, causes no verdict', async () => {
      const connection = await connect('F', { faults: [falseInvalidGrant], overrides });
      expect((await connection.read()).body).toMatchObject({ token_version: 2 });
      expect(connection.sends()).toBe(2);
    });

    it('that says it once of a replay, causes no verdict either', async () => {
      const connection = await connect('X', {
        faults: [lostBefore, falseInvalidGrant],
        overrides,
      });
      expect((await connection.read()).body).toMatchObject({ token_version: 2 });
      expect(connection.sends()).toBe(3);
    });

    it('that says it twice of a replay, has lost the rotation', async () => {
      const connection = await connect('X', { faults: [lostAfter], overrides });
      await connection.read();
      await expectVerdict(connection, 'lost_rotation');
      expect(connection.sends()).toBe(3);
      expect(connection.truth()).toMatchObject({ exchanges: 1 });
    });

    it('that says it twice, is believed', async () => {
      const connection = await connect('F', {
        faults: [falseInvalidGrant, falseInvalidGrant],
        overrides,
      });
      await connection.read();
      await expectVerdict(connection, 'revoked');
      expect(connection.sends()).toBe(2);
    });
  });
});
