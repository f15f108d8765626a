import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { passOpenGate, type AppGates, type GateAnswer } from '../../connections/app-gate.ts';
import { createAppGates } from '../../connections/app-gates.ts';
import {
  addProvenApp,
  appEvents,
  appRow,
  enterOpen,
  gateRequest,
  gateRow,
  host,
  misconfigured,
  noLimits,
  passSeconds,
  send,
  unavailable,
} from './gate-fixture.ts';
import { createStoreFixture, type StoreFixture } from './store-fixture.ts';

let fixture: StoreFixture;
let gates: AppGates;
/** The gates as another replica sees them. */
let elsewhere: AppGates;
let otherPool: pg.Pool;
beforeAll(async () => {
  fixture = await createStoreFixture();
  otherPool = new pg.Pool({ connectionString: fixture.database.url, max: 20 });
  otherPool.on('error', () => undefined);
  gates = createAppGates({ store: fixture.pool, random: () => 0.5 });
  elsewhere = createAppGates({ store: otherPool, random: () => 0.5 });
});
afterAll(async () => {
  await otherPool.end();
  await fixture.database.drop();
});

function openOf(answers: GateAnswer[]) {
  return answers.flatMap((answer) => (answer.kind === 'open' ? [answer.entry] : []));
}

async function enterAtOnce(count: number, request: () => Parameters<AppGates['enter']>[0]) {
  return Promise.all(
    Array.from({ length: count }, (_, n) => (n % 2 === 0 ? gates : elsewhere).enter(request())),
  );
}

const busy = { kind: 'wait', afterMs: 1_000, reason: 'busy' };

describe('an app that no success has proven', () => {
  it('sends one at a time, whatever number asks at once in two replicas', async () => {
    const appId = await fixture.addApp();
    const answers = await enterAtOnce(100, () => gateRequest(appId));
    expect(openOf(answers)).toHaveLength(1);
    expect(answers.filter(({ kind }) => kind === 'wait')).toEqual(
      Array.from({ length: 99 }, () => busy),
    );
  });

  it('is open to all after the first success', async () => {
    const appId = await addProvenApp(fixture, gates);
    expect(openOf(await enterAtOnce(20, () => gateRequest(appId)))).toHaveLength(20);
  });

  it.each([
    ['was given back', { kind: 'unsent' }],
    ['found the provider away', unavailable],
  ] as const)('lets the next one send when the first %s', async (_, end) => {
    const appId = await fixture.addApp();
    await send(gates, gateRequest(appId), end);
    expect(openOf(await enterAtOnce(10, () => gateRequest(appId)))).toHaveLength(1);
  });

  it('lets the next one send when the first was lost with its process', async () => {
    const appId = await fixture.addApp();
    await enterOpen(gates, gateRequest(appId, { leaseMs: 30_000 }));
    expect(await elsewhere.enter(gateRequest(appId))).toEqual(busy);
    await passSeconds(fixture, appId, 31);
    expect(openOf(await enterAtOnce(10, () => gateRequest(appId)))).toHaveLength(1);
  });

  it('is one that had none for ten minutes', async () => {
    const appId = await addProvenApp(fixture, gates);
    await passSeconds(fixture, appId, 601);
    expect(openOf(await enterAtOnce(10, () => gateRequest(appId)))).toHaveLength(1);
  });

  it('holds nothing up at another host', async () => {
    const appId = await fixture.addApp();
    await enterOpen(gates, gateRequest(appId));
    expect((await gates.enter(gateRequest(appId, { host: 'eu.example.com' }))).kind).toBe('open');
  });

  it('lets a replay pass that cannot wait', async () => {
    const appId = await fixture.addApp();
    await enterOpen(gates, gateRequest(appId));
    expect((await gates.enter(gateRequest(appId, { isUrgent: true }))).kind).toBe('open');
  });
});

describe('the gate that is read with a connection', () => {
  async function connectionOf(appId: string): Promise<string> {
    const id = await fixture.addConnection({ appId });
    await fixture.set(id, `token_host = '${host}'`);
    return id;
  }
  const openGateOf = async (id: string) => (await fixture.exchanges.load(id))?.openGate;

  it('lets sends of a proven app pass, and says once in 30 s that a success is to be told', async () => {
    const appId = await addProvenApp(fixture, gates);
    const id = await connectionOf(appId);
    const { id: gateId } = await gateRow(fixture, appId);
    const open = await openGateOf(id);
    expect(open).toMatchObject({ id: gateId, host, isSuccessNews: false });
    const request = gateRequest(appId, { connectionId: id });
    const asked = await enterOpen(gates, request);
    const { enteredAt, ...entry } = passOpenGate(open ?? null, request) ?? { enteredAt: '' };
    expect(entry).toEqual({ ...asked, enteredAt: undefined });
    expect(Date.parse(enteredAt)).toBeLessThanOrEqual(Date.parse(asked.enteredAt));
    await passSeconds(fixture, appId, 31);
    expect(await openGateOf(id)).toMatchObject({ isSuccessNews: true });
  });

  it('is to be told of a success that ends a doubt, and of no other', async () => {
    const appId = await addProvenApp(fixture, gates);
    const id = await connectionOf(appId);
    const pass = async () => {
      const entry = passOpenGate((await openGateOf(id)) ?? null, gateRequest(appId));
      if (entry === undefined) throw new Error('the gate is not open');
      return entry;
    };
    const before = await gateRow(fixture, appId);
    await gates.leave(await pass(), { kind: 'succeeded' });
    expect(await gateRow(fixture, appId)).toEqual(before);
    await gates.leave(await pass(), unavailable);
    expect(await gateRow(fixture, appId)).toMatchObject({ failure_count: 1 });
    await gates.leave(await pass(), { kind: 'succeeded' });
    expect(await gateRow(fixture, appId)).toMatchObject({ failure_count: 0 });
  });

  it('has to be asked where nobody knows the app, or something stands against it', async () => {
    const unproven = await fixture.addApp();
    expect(await openGateOf(await connectionOf(unproven))).toBeNull();

    const closed = await addProvenApp(fixture, gates);
    const ofClosed = await connectionOf(closed);
    await send(gates, gateRequest(closed), { kind: 'rate_limited', retryAfterMs: 5_000 });
    expect(await openGateOf(ofClosed)).toBeNull();

    const doubted = await addProvenApp(fixture, gates);
    const ofDoubted = await connectionOf(doubted);
    await send(gates, gateRequest(doubted), misconfigured);
    expect(await openGateOf(ofDoubted)).toBeNull();

    const paused = await addProvenApp(fixture, gates);
    const ofPaused = await connectionOf(paused);
    await fixture.pool.query(`update apps set paused_reason = 'x' where id = $1`, [paused]);
    expect(await openGateOf(ofPaused)).toBeNull();

    const old = await addProvenApp(fixture, gates);
    const ofOld = await connectionOf(old);
    await passSeconds(fixture, old, 601);
    expect(await openGateOf(ofOld)).toBeNull();
  });

  it('is passed by no send that a limit counts, nor by one to another host', async () => {
    const appId = await addProvenApp(fixture, gates);
    const open = (await openGateOf(await connectionOf(appId))) ?? null;
    expect(passOpenGate(open, gateRequest(appId))).toBeDefined();
    for (const members of [
      { limits: { ...noLimits, concurrency: 9 } },
      { limits: { ...noLimits, perWindow: { count: 9, seconds: 9 } } },
      { host: 'eu.example.com' },
    ]) {
      expect(passOpenGate(open, gateRequest(appId, members))).toBeUndefined();
    }
    expect(passOpenGate(null, gateRequest(appId))).toBeUndefined();
  });
});

describe('a proven app', () => {
  it('enters and leaves a thousand times while another holds the lock of its gate', async () => {
    const appId = await addProvenApp(fixture, gates);
    // A success is due to be written, and still nobody waits.
    await passSeconds(fixture, appId, 31);
    const holder = await fixture.begin();
    await holder.query('select * from app_gates where app_id = $1 for update', [appId]);
    const entries = openOf(await enterAtOnce(1_000, () => gateRequest(appId)));
    expect(entries).toHaveLength(1_000);
    await Promise.all(entries.map((entry) => gates.leave(entry, { kind: 'succeeded' })));
    await holder.commit();
  });

  it('has its success written at most every 30 s', async () => {
    const appId = await addProvenApp(fixture, gates);
    const read = async () => (await gateRow(fixture, appId))['last_success_at'];
    const first = await read();
    await send(gates, gateRequest(appId), { kind: 'succeeded' });
    expect(await read()).toEqual(first);
    await passSeconds(fixture, appId, 31);
    await send(gates, gateRequest(appId), { kind: 'succeeded' });
    expect(((await read()) as Date).getTime()).toBeGreaterThanOrEqual((first as Date).getTime());
  });
});

describe('a client that the provider refuses', () => {
  it('pauses an unproven app for ten minutes, lets one probe pass, then pauses it for good', async () => {
    const appId = await fixture.addApp();
    await send(gates, gateRequest(appId), misconfigured);
    const paused = await appRow(fixture, appId);
    expect(paused.paused_reason).toBe('invalid_client');
    expect(paused.rest_s).toBeGreaterThan(590);
    expect(paused.rest_s).toBeLessThanOrEqual(600);
    expect(await elsewhere.enter(gateRequest(appId))).toEqual({ kind: 'app_paused' });
    expect(await gates.enter(gateRequest(appId, { isUrgent: true }))).toEqual({
      kind: 'app_paused',
    });

    await passSeconds(fixture, appId, 601);
    const probes = openOf(await enterAtOnce(20, () => gateRequest(appId)));
    expect(probes).toHaveLength(1);
    for (const probe of probes) await gates.leave(probe, misconfigured);
    expect(await appRow(fixture, appId)).toEqual({ paused_reason: 'invalid_client', rest_s: null });
    await passSeconds(fixture, appId, 86_400);
    expect(await gates.enter(gateRequest(appId))).toEqual({ kind: 'app_paused' });
    expect(await appEvents(fixture, appId)).toEqual(['app.misconfigured']);
  });

  it('recovers with a probe that succeeds, and tells it once', async () => {
    const appId = await fixture.addApp();
    await send(gates, gateRequest(appId), misconfigured);
    await passSeconds(fixture, appId, 601);
    const probe = await enterOpen(gates, gateRequest(appId));
    await gates.leave(probe, { kind: 'succeeded' });
    await gates.leave(probe, { kind: 'succeeded' });
    expect(await appRow(fixture, appId)).toEqual({ paused_reason: null, rest_s: null });
    expect(openOf(await enterAtOnce(10, () => gateRequest(appId)))).toHaveLength(10);
    expect(await appEvents(fixture, appId)).toEqual(['app.misconfigured', 'app.recovered']);
  });

  it('is sent at most twice after the first answer, whatever 20 connections do', async () => {
    const appId = await addProvenApp(fixture, gates);
    const connections = Array.from({ length: 20 }, () => `c-${randomUUID()}`);
    let sends = 0;
    for (let minute = 0; minute < 40; minute += 1) {
      for (const connectionId of connections) {
        const answer = await gates.enter(gateRequest(appId, { connectionId }));
        if (answer.kind !== 'open') continue;
        sends += 1;
        await gates.leave(answer.entry, misconfigured);
      }
      await passSeconds(fixture, appId, 60);
    }
    expect(sends).toBe(3);
    expect(await appEvents(fixture, appId)).toEqual(['app.misconfigured']);
  });

  it('is only in doubt when a proven app was refused, however many were under way', async () => {
    const appId = await addProvenApp(fixture, gates);
    const entries = openOf(await enterAtOnce(5, () => gateRequest(appId)));
    for (const entry of entries) await gates.leave(entry, misconfigured);
    expect((await appRow(fixture, appId)).paused_reason).toBeNull();
    expect(openOf(await enterAtOnce(10, () => gateRequest(appId)))).toHaveLength(1);
  });

  it('is neither confirmed nor stopped by one odd connection', async () => {
    const appId = await addProvenApp(fixture, gates);
    const odd = `c-${randomUUID()}`;
    for (let round = 0; round < 5; round += 1) {
      await send(gates, gateRequest(appId, { connectionId: odd }), misconfigured);
      expect(await gates.enter(gateRequest(appId, { connectionId: odd }))).toMatchObject({
        kind: 'wait',
        reason: 'app_misconfigured',
      });
      await send(gates, gateRequest(appId), { kind: 'succeeded' });
    }
    expect((await appRow(fixture, appId)).paused_reason).toBeNull();
    expect(await appEvents(fixture, appId)).toEqual([]);
  });

  it('is not judged by a send whose place another has taken', async () => {
    const appId = await fixture.addApp();
    const lost = await enterOpen(gates, gateRequest(appId, { leaseMs: 30_000 }));
    await passSeconds(fixture, appId, 31);
    const next = await enterOpen(gates, gateRequest(appId));
    await gates.leave(lost, misconfigured);
    expect((await appRow(fixture, appId)).paused_reason).toBeNull();
    await gates.leave(next, misconfigured);
    expect((await appRow(fixture, appId)).paused_reason).toBe('invalid_client');
  });

  it('counts once although its end is told twice', async () => {
    const appId = await fixture.addApp();
    const entry = await enterOpen(gates, gateRequest(appId));
    const own = { kind: 'misconfigured', code: 'invalid_client', pausesApp: false } as const;
    for (let n = 0; n < 2; n += 1) await gates.leave(entry, own);
    expect(await gateRow(fixture, appId)).toMatchObject({ refusal_count: 1, closed_ms: 600_000 });
  });

  it('closes only its host where the host is the customer’s own: 10 minutes, then an hour', async () => {
    const appId = await fixture.addApp();
    const own = { ...misconfigured, pausesApp: false };
    await send(gates, gateRequest(appId), own);
    expect((await appRow(fixture, appId)).paused_reason).toBeNull();
    const answer = await elsewhere.enter(gateRequest(appId));
    expect(answer).toMatchObject({ kind: 'wait', reason: 'app_misconfigured' });
    expect(answer.kind === 'wait' && answer.afterMs).toBeGreaterThan(590_000);
    expect((await gates.enter(gateRequest(appId, { host: 'other.example.com' }))).kind).toBe(
      'open',
    );
    await passSeconds(fixture, appId, 601);
    await send(gates, gateRequest(appId), own);
    await passSeconds(fixture, appId, 3_590);
    expect(await gates.enter(gateRequest(appId))).toMatchObject({ reason: 'app_misconfigured' });
    await passSeconds(fixture, appId, 11);
    await send(gates, gateRequest(appId), { kind: 'succeeded' });
    expect(await gateRow(fixture, appId)).toMatchObject({ refusal_count: 0, closed_until: null });
  });

  it('is not judged by an answer to credentials that were changed since', async () => {
    const appId = await fixture.addApp();
    const old = await enterOpen(gates, gateRequest(appId));
    await fixture.pool.query('delete from app_gates where app_id = $1', [appId]);
    const fresh = await enterOpen(gates, gateRequest(appId));
    await gates.leave(old, misconfigured);
    await gates.leave(old, { kind: 'succeeded' });
    expect((await appRow(fixture, appId)).paused_reason).toBeNull();
    expect(await gates.enter(gateRequest(appId))).toEqual(busy);
    await gates.leave(fresh, { kind: 'succeeded' });
    expect(openOf(await enterAtOnce(5, () => gateRequest(appId)))).toHaveLength(5);
  });
});

describe('a provider that limits', () => {
  it.each([
    ['without limits', noLimits],
    ['with limits', { perWindow: null, concurrency: 5 }],
  ])(
    'closes the gate for as long as it asks, in every replica, and then lets one try: %s',
    async (_, limits) => {
      const appId = await addProvenApp(fixture, gates);
      const [first, second] = openOf(await enterAtOnce(2, () => gateRequest(appId, { limits })));
      if (first === undefined || second === undefined) throw new Error('the gate was shut');
      await gates.leave(first, { kind: 'rate_limited', retryAfterMs: 30_000 });
      // Whoever was under way and succeeds does not open it.
      await gates.leave(second, { kind: 'succeeded' });
      const answer = await elsewhere.enter(gateRequest(appId));
      expect(answer).toMatchObject({ kind: 'wait', reason: 'rate_limited' });
      // The rest of 30 s and half the spread of 3 s.
      expect(answer.kind === 'wait' && answer.afterMs).toBeGreaterThan(25_000);
      expect(answer.kind === 'wait' && answer.afterMs).toBeLessThanOrEqual(31_501);
      expect((await gates.enter(gateRequest(appId, { isUrgent: true }))).kind).toBe('open');
      await passSeconds(fixture, appId, 31);
      expect(openOf(await enterAtOnce(20, () => gateRequest(appId)))).toHaveLength(1);
    },
  );

  it('closes it for an hour at most', async () => {
    const appId = await fixture.addApp();
    await send(gates, gateRequest(appId), { kind: 'rate_limited', retryAfterMs: 86_400_000 });
    expect((await gateRow(fixture, appId))['closed_ms']).toBeCloseTo(3_600_000, -2);
  });
});

describe('a provider that is away', () => {
  it('closes the gate after five different connections in a row, and then lets one try', async () => {
    const appId = await addProvenApp(fixture, gates);
    for (let n = 0; n < 4; n += 1) await send(gates, gateRequest(appId), unavailable);
    expect(openOf(await enterAtOnce(5, () => gateRequest(appId)))).toHaveLength(5);
    await send(gates, gateRequest(appId), unavailable);
    expect(await gateRow(fixture, appId)).toMatchObject({ closed_ms: 500 });
    // However slow this machine is, the gate is still closed here.
    await passSeconds(fixture, appId, -30);
    expect(await elsewhere.enter(gateRequest(appId))).toMatchObject({
      kind: 'wait',
      reason: 'provider_unavailable',
    });
    await passSeconds(fixture, appId, 31);
    expect(openOf(await enterAtOnce(10, () => gateRequest(appId)))).toHaveLength(1);
  });

  it('stays closed twice as long each time its probe fails, to a minute at most', async () => {
    const appId = await fixture.addApp();
    const connectionId = `c-${randomUUID()}`;
    const closed: number[] = [];
    for (let n = 0; n < 13; n += 1) {
      await send(gates, gateRequest(appId, n < 5 ? {} : { connectionId }), unavailable);
      const { closed_ms: closedMs } = await gateRow(fixture, appId);
      if (closedMs !== null) closed.push(Math.round(closedMs as number));
      await passSeconds(fixture, appId, 61);
    }
    expect(closed).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    await send(gates, gateRequest(appId), { kind: 'succeeded' });
    expect(await gateRow(fixture, appId)).toMatchObject({ failure_count: 0, closed_until: null });
  });

  it('is not what one failing connection shows', async () => {
    const appId = await addProvenApp(fixture, gates);
    const connectionId = `c-${randomUUID()}`;
    for (let n = 0; n < 20; n += 1) {
      await send(gates, gateRequest(appId, { connectionId }), unavailable);
    }
    expect(await gateRow(fixture, appId)).toMatchObject({ failure_count: 1, closed_until: null });
  });

  it('closes it once for all that were under way', async () => {
    const appId = await addProvenApp(fixture, gates);
    const entries = openOf(await enterAtOnce(40, () => gateRequest(appId)));
    await Promise.all(entries.map((entry) => gates.leave(entry, unavailable)));
    expect(await gateRow(fixture, appId)).toMatchObject({ failure_count: 5, closed_ms: 500 });
  });

  it('is believed from the first when it says for how long', async () => {
    const appId = await addProvenApp(fixture, gates);
    await send(gates, gateRequest(appId), { kind: 'unavailable', retryAfterMs: 20_000 });
    const answer = await elsewhere.enter(gateRequest(appId));
    expect(answer).toMatchObject({ kind: 'wait', reason: 'provider_unavailable' });
    expect(answer.kind === 'wait' && answer.afterMs).toBeGreaterThan(15_000);
  });

  it('counts in a row only: a success between begins anew', async () => {
    const appId = await addProvenApp(fixture, gates);
    for (let n = 0; n < 10; n += 1) {
      await send(gates, gateRequest(appId), unavailable);
      if (n % 4 === 3) await send(gates, gateRequest(appId), { kind: 'succeeded' });
    }
    expect((await gateRow(fixture, appId))['closed_until']).toBeNull();
  });
});

describe('those who wait', () => {
  it('for a closed gate come back spread over a tenth of the time it was closed', async () => {
    const appId = await fixture.addApp();
    await send(gates, gateRequest(appId), { kind: 'rate_limited', retryAfterMs: 30_000 });
    const waits = [];
    for (const fraction of [0, 1]) {
      const store = fixture.pool;
      const answer = await createAppGates({ store, random: () => fraction }).enter(
        gateRequest(appId),
      );
      waits.push(answer.kind === 'wait' ? answer.afterMs : 0);
    }
    const [least = 0, most = 0] = waits;
    expect(most - least).toBeGreaterThan(1_000);
    expect(most).toBeLessThanOrEqual(33_001);
  });
});

describe('an app’s own limits', () => {
  const window = { perWindow: { count: 7, seconds: 60 }, concurrency: null };
  const three = { perWindow: null, concurrency: 3 };

  it('let exactly so many send in a window, in two replicas at once', async () => {
    const appId = await addProvenApp(fixture, gates);
    const answers = await enterAtOnce(60, () => gateRequest(appId, { limits: window }));
    const entries = openOf(answers);
    expect(entries).toHaveLength(7);
    expect(answers.filter(({ kind }) => kind === 'wait')).toHaveLength(53);
    const refused = await gates.enter(gateRequest(appId, { limits: window }));
    expect(refused).toMatchObject({ kind: 'wait', reason: 'rate_limited' });
    expect(refused.kind === 'wait' && refused.afterMs).toBeGreaterThan(40_000);

    // A place is given back by a send that did not happen, and only by that.
    for (const [n, entry] of entries.entries()) {
      await gates.leave(entry, { kind: n === 0 ? 'unsent' : 'succeeded' });
      await gates.leave(entry, { kind: n === 0 ? 'unsent' : 'succeeded' });
    }
    const again = await enterAtOnce(10, () => gateRequest(appId, { limits: window }));
    expect(openOf(again)).toHaveLength(1);
    await passSeconds(fixture, appId, 61);
    const later = await enterAtOnce(20, () => gateRequest(appId, { limits: window }));
    expect(openOf(later)).toHaveLength(7);
  });

  it('let exactly so many be under way', async () => {
    const appId = await addProvenApp(fixture, gates);
    const entries = openOf(await enterAtOnce(60, () => gateRequest(appId, { limits: three })));
    expect(entries).toHaveLength(3);
    expect(await gates.enter(gateRequest(appId, { limits: three }))).toEqual(busy);
    for (const entry of entries.slice(0, 2)) await gates.leave(entry, { kind: 'succeeded' });
    const next = await enterAtOnce(20, () => gateRequest(appId, { limits: three }));
    expect(openOf(next)).toHaveLength(2);
  });

  it('do not let more than one of an unproven app send', async () => {
    const appId = await fixture.addApp();
    const answers = await enterAtOnce(40, () => gateRequest(appId, { limits: three }));
    expect(openOf(answers)).toHaveLength(1);
  });

  it('do not hold a replay that cannot wait, but count it', async () => {
    const appId = await addProvenApp(fixture, gates);
    const limits = { perWindow: { count: 1, seconds: 60 }, concurrency: 1 };
    for (let n = 0; n < 2; n += 1) {
      await send(gates, gateRequest(appId, { limits, isUrgent: true }), { kind: 'succeeded' });
    }
    expect(await gates.enter(gateRequest(appId, { limits }))).toMatchObject({
      reason: 'rate_limited',
    });
  });
});
