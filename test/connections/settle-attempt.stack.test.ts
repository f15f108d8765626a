import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Settlement } from '../../connections/exchange.ts';
import {
  claimRequest,
  createStoreFixture,
  record,
  settlement,
  takeClaim,
  takeReplay,
  verdict,
  type StoreFixture,
} from './store-fixture.ts';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await createStoreFixture();
});
afterAll(() => fixture.database.drop());

const openFates = ['transient', 'rate_limited', 'misconfigured', 'protocol_break'] as const;

async function leaveLateTokens(id: string): Promise<void> {
  await fixture.setIntent(id, `late_attempt = 1, late_sealed = '\\x00'`);
}

describe('a first send that brought no tokens', () => {
  it.each([
    ['transient', 'waiting'],
    ['rate_limited', 'waiting'],
    ['misconfigured', 'app_misconfigured'],
    ['protocol_break', 'waiting'],
  ] as const)('is over with class %s: outcome %s', async (failureClass, outcome) => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const before = await fixture.now();
    const end = settlement(claim, { class: failureClass, code: 'code_1' });
    expect(await fixture.exchanges.settle(end)).toBe(true);
    expect(await fixture.intent(id)).toBeUndefined();
    const row = await fixture.row(id);
    expect(row).toMatchObject({
      generation: 1,
      attempt: 1,
      failure_class: failureClass,
      failure_code: 'code_1',
      failure_count: 1,
      uncertain_since: null,
      verdict: null,
    });
    for (const column of ['next_attempt_at', 'refresh_due_at']) {
      const inMs = (row[column] as Date).getTime() - before.getTime();
      expect(inMs).toBeGreaterThanOrEqual(4_000);
      expect(inMs).toBeLessThan(9_000);
    }
    expect(await fixture.attempts(id)).toEqual([{ outcome, class: failureClass, code: 'code_1' }]);
    expect(await fixture.events(id)).toEqual([]);
  });

  it('and was not even sent is over too', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const end = settlement(claim, { code: 'ECONNREFUSED' });
    expect(await fixture.exchanges.settle(end)).toBe(true);
    expect(await fixture.intent(id)).toBeUndefined();
    expect(await fixture.row(id)).toMatchObject({ uncertain_since: null });
  });

  it('and whose fate is unknown keeps its intent, which can be taken over at once', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const before = await fixture.intent(id);
    const end = settlement(claim, { class: 'ambiguous', code: 'ECONNRESET', retryAfterMs: 0 });
    expect(await fixture.exchanges.settle(end)).toBe(true);
    const after = await fixture.intent(id);
    expect(after).toMatchObject({
      attempt: 1,
      replays: 0,
      first_sent_at: before?.['first_sent_at'],
    });
    expect((after?.['answer_by'] as Date).getTime()).toBeLessThanOrEqual(
      (await fixture.now()).getTime(),
    );
    expect((await fixture.row(id))['uncertain_since']).not.toBeNull();
    expect(await fixture.attempts(id)).toEqual([
      { outcome: 'uncertain', class: 'ambiguous', code: 'ECONNRESET' },
    ]);
    expect(await fixture.exchanges.claim(claimRequest(id, { replayOf: 1 }))).toBeDefined();
  });

  it('leaves no due time in the past, even when it may go on at once', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const before = await fixture.now();
    await fixture.exchanges.settle(settlement(claim, { retryAfterMs: 0 }));
    const { refresh_due_at } = await fixture.row(id);
    expect((refresh_due_at as Date).getTime()).toBeGreaterThanOrEqual(before.getTime());
  });
});

describe('a replay', () => {
  it('that was not sent puts the ambiguity back as it was', async () => {
    const id = await fixture.addConnection();
    const { second } = await takeReplay(fixture.exchanges, id);
    const before = await fixture.intent(id);
    const { uncertain_since } = await fixture.row(id);
    const end = settlement(second, { retryAfterMs: 0 });
    expect(await fixture.exchanges.settle(end)).toBe(true);
    const after = await fixture.intent(id);
    expect(after).toMatchObject({
      attempt: 2,
      replays: 0,
      first_sent_at: before?.['first_sent_at'],
    });
    expect((after?.['answer_by'] as Date).getTime()).toBeLessThanOrEqual(
      (await fixture.now()).getTime(),
    );
    expect(await fixture.row(id)).toMatchObject({ uncertain_since });
    expect(uncertain_since).not.toBeNull();
    const again = await takeClaim(fixture.exchanges, claimRequest(id, { replayOf: 2 }));
    expect(again).toMatchObject({ attempt: 3, replays: 1 });
  });

  it.each(openFates)('that ends with class %s leaves the fate of the token open', async (fate) => {
    const id = await fixture.addConnection();
    const { second } = await takeReplay(fixture.exchanges, id);
    const before = await fixture.intent(id);
    expect(await fixture.exchanges.settle(settlement(second, { class: fate }))).toBe(true);
    expect(await fixture.intent(id)).toMatchObject({
      attempt: 2,
      replays: 0,
      first_sent_at: before?.['first_sent_at'],
    });
    const row = await fixture.row(id);
    expect(row).toMatchObject({ failure_class: fate, failure_count: 2 });
    expect(row['uncertain_since']).not.toBeNull();
  });

  it('that was not sent is settled once, however often it is told', async () => {
    const id = await fixture.addConnection();
    const { second } = await takeReplay(fixture.exchanges, id);
    const end = settlement(second);
    expect(await fixture.exchanges.settle(end)).toBe(true);
    const settled = await fixture.row(id);
    // The answer of the first settle was lost, so the next call brings it again.
    expect(await fixture.exchanges.settle(end)).toBe(false);
    expect(await fixture.intent(id)).toMatchObject({ attempt: 2, replays: 0 });
    expect(await fixture.row(id)).toEqual(settled);
    expect(await fixture.attempts(id)).toHaveLength(2);
  });
});

describe('settling', () => {
  const ends: Partial<Settlement>[] = [
    { class: 'transient' },
    { class: 'transient', refreshDueAfterMs: null },
    { class: 'ambiguous' },
  ];

  it.each(ends)('%o twice changes nothing more', async (members) => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    expect(await fixture.exchanges.settle(settlement(claim, members))).toBe(true);
    const [row, intent] = [await fixture.row(id), await fixture.intent(id)];
    expect(await fixture.exchanges.settle(settlement(claim, members))).toBe(false);
    expect(await fixture.row(id)).toEqual(row);
    expect(await fixture.intent(id)).toEqual(intent);
    expect(await fixture.attempts(id)).toHaveLength(1);
  });

  it('never ends the attempt of somebody else', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    const [row, intent] = [await fixture.row(id), await fixture.intent(id)];
    const nobody = { ...second, claimId: randomUUID() };
    for (const claim of [first, nobody, { ...second, generation: 2 }]) {
      expect(await fixture.exchanges.settle(settlement(claim))).toBe(false);
      expect(await fixture.exchanges.settle(verdict(claim))).toBe(false);
    }
    expect(await fixture.row(id)).toEqual(row);
    expect(await fixture.intent(id)).toEqual(intent);
  });

  it('leaves credentials alone that were stored in between', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    await fixture.exchanges.commit(
      claim,
      await fixture.seal(id, 1, {}),
      record,
      await fixture.sealResult(id, 1),
    );
    const row = await fixture.row(id);
    expect(await fixture.exchanges.settle(settlement(claim))).toBe(false);
    expect(await fixture.exchanges.settle(verdict(claim))).toBe(false);
    expect(await fixture.row(id)).toEqual(row);
  });

  it.each([
    ['a failure', settlement],
    ['a verdict', verdict],
  ])('%s over late tokens is refused, and they can be stored at once', async (_name, end) => {
    const id = await fixture.addConnection();
    const { second } = await takeReplay(fixture.exchanges, id);
    await leaveLateTokens(id);
    const row = await fixture.row(id);
    expect(await fixture.exchanges.settle(end(second))).toBe(false);
    expect(await fixture.row(id)).toEqual(row);
    expect(await fixture.events(id)).toEqual([]);
    const intent = await fixture.intent(id);
    expect(intent).toMatchObject({ attempt: 2, late_attempt: 1 });
    // The call of the later attempt is over: nothing is to be waited for.
    expect((intent?.['answer_by'] as Date).getTime()).toBeLessThanOrEqual(
      (await fixture.now()).getTime(),
    );
  });
});

describe('a first send in whose intent late tokens lie', () => {
  it('is not settled, and the tokens stay', async () => {
    const id = await fixture.addConnection();
    const first = await takeClaim(fixture.exchanges, claimRequest(id));
    // The end of the first was reported by a process that did not know of its answer.
    await fixture.exchanges.settle(settlement(first, { retryAfterMs: 0 }));
    const second = await takeClaim(fixture.exchanges, claimRequest(id));
    const tokens = await fixture.seal(id, 1, {});
    const sealed = await fixture.sealResult(id, 1);
    expect(await fixture.exchanges.commit(first, tokens, record, sealed)).toBe('late');
    expect(await fixture.exchanges.settle(settlement(second))).toBe(false);
    expect(await fixture.intent(id)).toMatchObject({ attempt: 2, replays: 0, late_attempt: 1 });
    expect(await fixture.row(id)).toMatchObject({ failure_count: 1 });
  });
});

describe('a verdict', () => {
  it('ends the connection, once, with an event', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    expect(await fixture.exchanges.settle(verdict(claim))).toBe(true);
    expect(await fixture.exchanges.settle(verdict(claim))).toBe(false);
    expect(await fixture.intent(id)).toBeUndefined();
    const row = await fixture.row(id);
    expect(row).toMatchObject({
      verdict: 'revoked',
      failure_class: 'permanent',
      failure_code: 'invalid_grant',
      refresh_due_at: null,
      next_attempt_at: null,
      uncertain_since: null,
    });
    expect(row['verdict_at']).not.toBeNull();
    expect(await fixture.events(id)).toEqual([
      { type: 'connection.reauthorization_required', data: { reason: 'revoked' } },
    ]);
    expect(await fixture.attempts(id)).toEqual([
      { outcome: 'reauthorization_required', class: 'permanent', code: 'invalid_grant' },
    ]);
  });

  it('of a replay ends the uncertainty', async () => {
    const id = await fixture.addConnection();
    const { second } = await takeReplay(fixture.exchanges, id);
    expect(await fixture.exchanges.settle(verdict(second))).toBe(true);
    expect(await fixture.row(id)).toMatchObject({ verdict: 'revoked', uncertain_since: null });
    expect(await fixture.intent(id)).toBeUndefined();
  });
});

describe('a postponement', () => {
  it('says why and until when, and touches no intent', async () => {
    const id = await fixture.addConnection();
    await takeClaim(fixture.exchanges, claimRequest(id));
    const intent = await fixture.intent(id);
    const before = await fixture.now();
    const why = {
      connectionId: id,
      generation: 1,
      attempt: 1,
      class: 'misconfigured',
      code: 'egress_refused',
      retryAfterMs: 60_000,
      refreshDueAfterMs: 90_000,
      record,
    } as const;
    await fixture.exchanges.postpone({ ...why, generation: 2 });
    await fixture.exchanges.postpone({ ...why, attempt: 0 });
    expect(await fixture.attempts(id)).toEqual([]);
    await fixture.exchanges.postpone(why);
    const row = await fixture.row(id);
    expect(row).toMatchObject({ failure_code: 'egress_refused', failure_count: 1 });
    expect((row['next_attempt_at'] as Date).getTime()).toBeGreaterThanOrEqual(
      before.getTime() + 60_000,
    );
    // Nobody of his own accord comes as early as callers may.
    expect((row['refresh_due_at'] as Date).getTime()).toBeGreaterThanOrEqual(
      before.getTime() + 90_000,
    );
    expect(await fixture.intent(id)).toEqual(intent);
    expect(await fixture.attempts(id)).toEqual([
      { outcome: 'app_misconfigured', class: 'misconfigured', code: 'egress_refused' },
    ]);
  });
});

describe('the attempts log', () => {
  it('keeps the newest fifty of a connection, and others untouched', async () => {
    const [id, other] = [await fixture.addConnection(), await fixture.addConnection()];
    const end = async (connectionId: string, code: string): Promise<void> => {
      const claim = await takeClaim(fixture.exchanges, claimRequest(connectionId));
      await fixture.exchanges.settle(settlement(claim, { code, retryAfterMs: 0 }));
    };
    await end(other, 'other');
    for (let attempt = 1; attempt <= 53; attempt += 1) await end(id, `code_${attempt}`);
    const codes = (await fixture.attempts(id)).map(({ code }) => code);
    expect(codes).toEqual(Array.from({ length: 50 }, (_, at) => `code_${at + 4}`));
    expect(await fixture.attempts(other)).toHaveLength(1);
  });
});
