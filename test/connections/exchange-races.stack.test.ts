import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommitOutcome, Fence } from '../../connections/exchange.ts';
import type { ExchangeStore } from '../../connections/exchange-store.ts';
import { Secret } from '../../platform/secret.ts';
import {
  claimRequest,
  createStoreFixture,
  record,
  settlement,
  takeClaim,
  takeReplay,
  tenantId,
  verdict,
  type OpenTransaction,
  type StoreFixture,
} from './store-fixture.ts';

// PostgreSQL runs a statement on a snapshot, and looks again at a row only when it had to wait for it:
// each test makes one statement wait for another that has written but not committed.

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await createStoreFixture();
});
afterAll(() => fixture.database.drop());

/** `first` runs in an open transaction; `second` begins, waits for it, and ends after its commit. */
async function race<First, Second>(
  first: (transaction: OpenTransaction) => Promise<First>,
  second: () => Promise<Second>,
): Promise<[First, Second]> {
  const transaction = await fixture.begin();
  const firstEnd = await first(transaction);
  const running = second();
  await fixture.untilWaiting(1);
  await transaction.commit();
  return [firstEnd, await running];
}

async function commitOn(exchanges: ExchangeStore, fence: Fence): Promise<CommitOutcome> {
  const { connectionId, generation, attempt } = fence;
  const tokens = await fixture.seal(connectionId, generation, {
    access: `at-${attempt}`,
    refresh: `rt-${attempt}`,
  });
  const sealedResult = await fixture.sealResult(connectionId, generation);
  return exchanges.commit(fence, tokens, record, sealedResult);
}

describe('a claim that waits', () => {
  it('for another claim is refused', async () => {
    const id = await fixture.addConnection();
    const [first, second] = await race(
      ({ exchanges }) => exchanges.claim(claimRequest(id)),
      () => fixture.exchanges.claim(claimRequest(id)),
    );
    expect(first).toMatchObject({ attempt: 1 });
    expect(second).toBeUndefined();
    expect(await fixture.row(id)).toMatchObject({ attempt: 1 });
  });

  it('for a takeover of the same attempt is refused', async () => {
    const id = await fixture.addConnection();
    await takeClaim(fixture.exchanges, claimRequest(id, { answerWithinMs: 0 }));
    const replay = claimRequest(id, { replayOf: 1 });
    const [first, second] = await race(
      ({ exchanges }) => exchanges.claim(replay),
      () => fixture.exchanges.claim(claimRequest(id, { replayOf: 1, answerWithinMs: 0 })),
    );
    expect(first).toMatchObject({ attempt: 2, replays: 1 });
    expect(second).toBeUndefined();
    expect(await fixture.intent(id)).toMatchObject({ attempt: 2, claim_id: replay.claimId });
  });

  it.each([
    ['a pause', 'paused_at = now()'],
    ['a deletion', 'deleted_at = now()'],
    ['a verdict', `verdict = 'revoked'`],
    ['a waiting time', `next_attempt_at = now() + interval '1 minute'`],
    ['new credentials', 'generation = generation + 1'],
  ])('for %s is refused', async (_name, assignments) => {
    const id = await fixture.addConnection();
    const [, claim] = await race(
      (transaction) =>
        transaction.query(`update connections set ${assignments} where id = $1`, [id]),
      () => fixture.exchanges.claim(claimRequest(id)),
    );
    expect(claim).toBeUndefined();
    expect(await fixture.intent(id)).toBeUndefined();
    expect(await fixture.row(id)).toMatchObject({ attempt: 0 });
  });

  it('for a row that changed otherwise counts on from it', async () => {
    const id = await fixture.addConnection();
    const [, claim] = await race(
      (transaction) => transaction.query('update connections set attempt = 7 where id = $1', [id]),
      () => fixture.exchanges.claim(claimRequest(id)),
    );
    expect(claim).toMatchObject({ attempt: 8 });
    expect(await fixture.row(id)).toMatchObject({ attempt: 8 });
    expect(await fixture.intent(id)).toMatchObject({ attempt: 8 });
  });

  it('for the commit of the attempt that it would take over is refused', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id, { answerWithinMs: 0 }));
    const [outcome, replay] = await race(
      ({ exchanges }) => commitOn(exchanges, claim),
      () => fixture.exchanges.claim(claimRequest(id, { replayOf: 1 })),
    );
    expect(outcome).toBe('stored');
    expect(replay).toBeUndefined();
    expect(await fixture.intent(id)).toBeUndefined();
  });

  it('for late tokens that come into the intent is refused', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    await fixture.exchanges.settle(settlement(second, { class: 'ambiguous', retryAfterMs: 0 }));
    const [outcome, replay] = await race(
      ({ exchanges }) => commitOn(exchanges, first),
      () => fixture.exchanges.claim(claimRequest(id, { replayOf: 2 })),
    );
    expect(outcome).toBe('late');
    expect(replay).toBeUndefined();
    expect(await fixture.intent(id)).toMatchObject({ attempt: 2, late_attempt: 1 });
    expect(await fixture.row(id)).toMatchObject({ attempt: 2 });
  });
});

describe('a commit that waits', () => {
  it('for the takeover of its attempt goes into the intent of the later one', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id, { answerWithinMs: 0 }));
    const [replay, outcome] = await race(
      ({ exchanges }) => exchanges.claim(claimRequest(id, { replayOf: 1 })),
      () => commitOn(fixture.exchanges, claim),
    );
    expect(replay).toMatchObject({ attempt: 2 });
    expect(outcome).toBe('late');
    expect(await fixture.intent(id)).toMatchObject({ attempt: 2, late_attempt: 1 });
    expect(await fixture.row(id)).toMatchObject({ generation: 1 });
  });

  it('for a takeover with late tokens in hand moves on to the intent that is there', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    await fixture.exchanges.settle(settlement(second, { class: 'ambiguous', retryAfterMs: 0 }));
    const [third, outcome] = await race(
      ({ exchanges }) => exchanges.claim(claimRequest(id, { replayOf: 2 })),
      () => commitOn(fixture.exchanges, first),
    );
    expect(third).toMatchObject({ attempt: 3 });
    expect(outcome).toBe('late');
    expect(await fixture.intent(id)).toMatchObject({ attempt: 3, late_attempt: 1 });
  });

  it('for the commit of a later attempt is superseded', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    const [stored, outcome] = await race(
      ({ exchanges }) => commitOn(exchanges, second),
      () => commitOn(fixture.exchanges, first),
    );
    expect([stored, outcome]).toEqual(['stored', 'superseded']);
    expect(await fixture.openTokens(id)).toEqual({ access: 'at-2', refresh: 'rt-2' });
  });

  it('for the same commit is superseded, and is logged once', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const outcomes = await race(
      ({ exchanges }) => commitOn(exchanges, claim),
      () => commitOn(fixture.exchanges, claim),
    );
    expect(outcomes).toEqual(['stored', 'superseded']);
    expect(await fixture.attempts(id)).toHaveLength(1);
  });

  it('for the verdict of a later attempt is stored, and ends it', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    const [settled, outcome] = await race(
      ({ exchanges }) => exchanges.settle(verdict(second)),
      () => commitOn(fixture.exchanges, first),
    );
    expect([settled, outcome]).toEqual([true, 'stored']);
    expect(await fixture.row(id)).toMatchObject({ verdict: null, generation: 2 });
    expect((await fixture.events(id)).map(({ type }) => type)).toEqual([
      'connection.reauthorization_required',
      'connection.recovered',
    ]);
  });

  it('of late tokens, for newer ones, leaves those', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    await fixture.exchanges.settle(settlement(second, { class: 'ambiguous', retryAfterMs: 0 }));
    const third = await takeClaim(fixture.exchanges, claimRequest(id, { replayOf: 2 }));
    expect(await commitOn(fixture.exchanges, first)).toBe('late');
    const tokens = await fixture.seal(id, 1, {});
    const [outcome, isStored] = await race(
      ({ exchanges }) => commitOn(exchanges, second),
      () => fixture.exchanges.commitLate({ ...third, lateAttempt: 1 }, tokens, record),
    );
    expect([outcome, isStored]).toEqual(['late', false]);
    expect(await fixture.intent(id)).toMatchObject({ attempt: 3, late_attempt: 2 });
    expect(await fixture.row(id)).toMatchObject({ generation: 1 });
  });
});

describe('a settle that waits', () => {
  it.each([
    ['a verdict', verdict],
    ['a failure', settlement],
  ])('as %s, for late tokens, changes nothing', async (_name, end) => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    const row = await fixture.row(id);
    const [outcome, settled] = await race(
      ({ exchanges }) => commitOn(exchanges, first),
      () => fixture.exchanges.settle(end(second)),
    );
    expect([outcome, settled]).toEqual(['late', false]);
    expect(await fixture.row(id)).toEqual(row);
    expect(await fixture.intent(id)).toMatchObject({ attempt: 2, late_attempt: 1 });
    expect(await fixture.events(id)).toEqual([]);
    expect(await fixture.attempts(id)).toHaveLength(1);
  });

  it.each([
    ['a failure', {}, 0],
    ['an ambiguity that its class forgives', { class: 'ambiguous', isReplayCounted: false }, 0],
    ['an ambiguity', { class: 'ambiguous' }, 1],
  ] as const)('as %s, for itself, changes nothing more', async (_name, members, replays) => {
    const id = await fixture.addConnection();
    const { second } = await takeReplay(fixture.exchanges, id);
    const settled = await race(
      ({ exchanges }) => exchanges.settle(settlement(second, members)),
      () => fixture.exchanges.settle(settlement(second, members)),
    );
    expect(settled).toEqual([true, false]);
    expect(await fixture.row(id)).toMatchObject({ failure_count: 2 });
    expect(await fixture.attempts(id)).toHaveLength(2);
    expect(await fixture.intent(id)).toMatchObject({ attempt: 2, replays });
  });

  it('for the takeover of its attempt changes nothing', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id, { answerWithinMs: 0 }));
    const [replay, settled] = await race(
      ({ exchanges }) => exchanges.claim(claimRequest(id, { replayOf: 1 })),
      () => fixture.exchanges.settle(verdict(claim)),
    );
    expect(replay).toMatchObject({ attempt: 2 });
    expect(settled).toBe(false);
    expect(await fixture.row(id)).toMatchObject({ verdict: null, failure_class: null });
    expect(await fixture.intent(id)).toMatchObject({ attempt: 2 });
  });

  it('for the commit of its attempt changes nothing', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const [outcome, settled] = await race(
      ({ exchanges }) => commitOn(exchanges, claim),
      () => fixture.exchanges.settle(verdict(claim)),
    );
    expect([outcome, settled]).toEqual(['stored', false]);
    expect(await fixture.row(id)).toMatchObject({ verdict: null, generation: 2 });
  });
});

describe('new credentials that wait', () => {
  const putNew = (id: string, appId: string) =>
    fixture.connections.put(id, {
      tenantId,
      appId,
      accessToken: new Secret('at-put'),
      refreshToken: new Secret(`rt-put-${id}`),
      expiresInSeconds: 60,
    });

  it('for a claim win over it, and its intent stands in nobody’s way', async () => {
    const appId = await fixture.addApp();
    const id = await fixture.addConnection({ appId });
    const [claim] = await race(
      ({ exchanges }) => exchanges.claim(claimRequest(id)),
      () => putNew(id, appId),
    );
    if (claim === undefined) throw new Error('the claim was refused');
    expect(await commitOn(fixture.exchanges, claim)).toBe('superseded');
    expect(await fixture.openTokens(id)).toMatchObject({ access: 'at-put' });
    const next = await takeClaim(fixture.exchanges, claimRequest(id, { generation: 2 }));
    expect(next).toMatchObject({ attempt: 2, replays: 0 });
  });

  it('for a commit are stored after it, with the generation after its own', async () => {
    const appId = await fixture.addApp();
    const id = await fixture.addConnection({ appId });
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const [outcome, put] = await race(
      ({ exchanges }) => commitOn(exchanges, claim),
      () => putNew(id, appId),
    );
    expect(outcome).toBe('stored');
    expect(put.connection).toMatchObject({ generation: 3, tokenVersion: 3 });
    expect(await fixture.openTokens(id)).toEqual({ access: 'at-put', refresh: `rt-put-${id}` });
  });
});
