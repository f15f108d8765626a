import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ClaimRequest } from '../../connections/exchange.ts';
import {
  claimRequest,
  createStoreFixture,
  settlement,
  takeClaim,
  takeReplay,
  type StoreFixture,
} from './store-fixture.ts';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await createStoreFixture();
});
afterAll(() => fixture.database.drop());

const claimers = 50;

async function claimAtOnce(request: () => ClaimRequest): Promise<number[]> {
  const claims = await Promise.all(
    Array.from({ length: claimers }, () => fixture.exchanges.claim(request())),
  );
  return claims.flatMap((claim) => (claim === undefined ? [] : [claim.attempt]));
}

describe('a claim', () => {
  it('is granted to one of fifty that come at once', async () => {
    const id = await fixture.addConnection();
    expect(await claimAtOnce(() => claimRequest(id))).toEqual([1]);
    expect(await fixture.row(id)).toMatchObject({ attempt: 1 });
  });

  it('records the intent and when its answer can come', async () => {
    const id = await fixture.addConnection();
    const before = await fixture.now();
    const request = claimRequest(id, {
      fingerprint: Buffer.alloc(32, 3),
      workflowRunId: 'run-9',
      answerWithinMs: 18_500,
      rotationClass: 'C',
    });
    const claim = await takeClaim(fixture.exchanges, request);
    expect(claim).toMatchObject({ connectionId: id, generation: 1, attempt: 1, replays: 0 });
    expect(claim.claimedAt.getTime()).toBeGreaterThanOrEqual(before.getTime());
    expect(await fixture.intent(id)).toMatchObject({
      generation: 1,
      attempt: 1,
      replays: 0,
      claim_id: request.claimId,
      fingerprint: Buffer.alloc(32, 3),
      workflow_run_id: 'run-9',
      late_sealed: null,
    });
    const { sent_at, first_sent_at, answer_by } = (await fixture.intent(id)) ?? {};
    expect(sent_at).toEqual(claim.claimedAt);
    expect((first_sent_at as Date).getTime() - claim.claimedAt.getTime()).toBeLessThanOrEqual(1);
    const openMs = (answer_by as Date).getTime() - claim.claimedAt.getTime();
    expect(Math.abs(openMs - 18_500)).toBeLessThanOrEqual(1);
    expect(await fixture.row(id)).toMatchObject({
      last_sent_at: claim.claimedAt,
      rotation_class: 'C',
    });
  });

  it.each([
    ['of a paused connection', 'paused_at = now()', {}],
    ['of a deleted connection', 'deleted_at = now()', {}],
    ['after a verdict', `verdict = 'revoked'`, {}],
    ['before the next attempt', `next_attempt_at = now() + interval '1 minute'`, {}],
    ['at an older generation', 'generation = 2', {}],
    ['at a newer generation', 'generation = 1', { generation: 2 }],
  ])('%s is refused, and leaves no trace', async (_name, assignments, members) => {
    const id = await fixture.addConnection();
    await fixture.set(id, assignments);
    const before = await fixture.row(id);
    expect(await fixture.exchanges.claim(claimRequest(id, members))).toBeUndefined();
    expect(await fixture.row(id)).toEqual(before);
    expect(await fixture.intent(id)).toBeUndefined();
  });

  it('of no connection at all is refused', async () => {
    expect(await fixture.exchanges.claim(claimRequest('nobody'))).toBeUndefined();
  });

  it('is granted when the time of the next attempt has come', async () => {
    const id = await fixture.addConnection();
    await fixture.set(id, 'next_attempt_at = clock_timestamp()');
    expect(await fixture.exchanges.claim(claimRequest(id))).toBeDefined();
  });

  it('raises the attempt only when it is granted, and never starts it again', async () => {
    const id = await fixture.addConnection();
    const first = await takeClaim(fixture.exchanges, claimRequest(id));
    await claimAtOnce(() => claimRequest(id));
    expect(await fixture.row(id)).toMatchObject({ attempt: 1 });
    await fixture.exchanges.settle(settlement(first, { retryAfterMs: 0 }));
    expect(await takeClaim(fixture.exchanges, claimRequest(id))).toMatchObject({ attempt: 2 });
  });
});

describe('taking over an intent', () => {
  it.each([
    ['as a first send', null],
    ['as the replay of another attempt', 2],
  ])('%s is refused', async (_name, replayOf) => {
    const id = await fixture.addConnection();
    await takeClaim(fixture.exchanges, claimRequest(id, { answerWithinMs: 0 }));
    expect(await fixture.exchanges.claim(claimRequest(id, { replayOf }))).toBeUndefined();
    expect(await fixture.intent(id)).toMatchObject({ attempt: 1, replays: 0 });
  });

  it('is refused before its answer_by', async () => {
    const id = await fixture.addConnection();
    await takeClaim(fixture.exchanges, claimRequest(id));
    expect(await fixture.exchanges.claim(claimRequest(id, { replayOf: 1 }))).toBeUndefined();
  });

  it('is refused while late tokens lie in it', async () => {
    const id = await fixture.addConnection();
    await takeClaim(fixture.exchanges, claimRequest(id, { answerWithinMs: 0 }));
    await fixture.setIntent(id, `late_attempt = 0, late_sealed = '\\x00'`);
    expect(await fixture.exchanges.claim(claimRequest(id, { replayOf: 1 }))).toBeUndefined();
  });

  it('counts the replay and keeps the time of the first send', async () => {
    const id = await fixture.addConnection();
    await takeClaim(fixture.exchanges, claimRequest(id, { answerWithinMs: 0 }));
    await fixture.setIntent(id, `first_sent_at = first_sent_at - interval '1 second'`);
    const { first_sent_at } = (await fixture.intent(id)) ?? {};
    for (const replays of [1, 2]) {
      const request = claimRequest(id, { replayOf: replays, answerWithinMs: 0 });
      expect(await takeClaim(fixture.exchanges, request)).toMatchObject({
        attempt: replays + 1,
        replays,
      });
      const intent = await fixture.intent(id);
      expect(intent).toMatchObject({ first_sent_at, claim_id: request.claimId });
      expect((intent?.['sent_at'] as Date).getTime()).toBeGreaterThan(
        (first_sent_at as Date).getTime(),
      );
    }
  });

  it('is granted to one of fifty that come at once', async () => {
    const id = await fixture.addConnection();
    await takeClaim(fixture.exchanges, claimRequest(id, { answerWithinMs: 0 }));
    expect(await claimAtOnce(() => claimRequest(id, { replayOf: 1 }))).toEqual([2]);
    expect(await fixture.intent(id)).toMatchObject({ attempt: 2, replays: 1 });
  });

  it('of an older generation is a first send', async () => {
    const id = await fixture.addConnection();
    const { second } = await takeReplay(fixture.exchanges, id);
    expect(second.replays).toBe(1);
    // As when new credentials were stored while the claim was being written.
    await fixture.set(id, 'generation = 2');
    const claim = await takeClaim(fixture.exchanges, claimRequest(id, { generation: 2 }));
    expect(claim).toMatchObject({ generation: 2, attempt: 3, replays: 0 });
    const { first_sent_at, sent_at } = (await fixture.intent(id)) ?? {};
    expect((sent_at as Date).getTime() - (first_sent_at as Date).getTime()).toBeLessThanOrEqual(1);
  });
});

describe('what the exchange loads', () => {
  it('is nothing where there is no connection', async () => {
    expect(await fixture.exchanges.load('nobody')).toBeUndefined();
  });

  it('is connection, app, sealed values and intent together', async () => {
    const appId = await fixture.addApp({ rotation: { class: 'C' } });
    const id = await fixture.addConnection({ appId, variables: { region: 'eu' } });
    expect(await fixture.exchanges.load(id)).toMatchObject({ intent: null, lastSentAt: null });
    const { second, first } = await takeReplay(fixture.exchanges, id);
    await fixture.exchanges.commit(
      first,
      await fixture.seal(id, 1, {}),
      null,
      await fixture.sealResult(id, 1),
    );
    const subject = await fixture.exchanges.load(id);
    expect(subject).toMatchObject({
      attempt: 2,
      lastSentAt: second.claimedAt,
      connection: { id, tenantId: 'tenant', generation: 1, variables: { region: 'eu' } },
      app: {
        id: appId,
        clientId: 'client',
        generation: 1,
        overrides: { rotation: { class: 'C' } },
      },
      intent: {
        generation: 1,
        attempt: 2,
        replays: 1,
        workflowRunId: 'run-1',
        late: { attempt: 1 },
      },
    });
    const { sealed_refresh_token } = await fixture.row(id);
    expect(subject?.sealedRefreshToken).toEqual(sealed_refresh_token);
  });
});

describe('an intent that nobody settled', () => {
  it('makes the connection uncertain, once, and only its own', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id, { answerWithinMs: 0 }));
    await fixture.exchanges.markUncertain({ ...claim, attempt: 0 }, 60_000, 'read');
    await fixture.exchanges.markUncertain({ ...claim, generation: 2 }, 60_000, 'read');
    expect(await fixture.row(id)).toMatchObject({ uncertain_since: null });
    await fixture.exchanges.markUncertain(claim, 60_000, 'read');
    const { uncertain_since, refresh_due_at } = await fixture.row(id);
    expect((refresh_due_at as Date).getTime() - (uncertain_since as Date).getTime()).toBe(60_000);
    await fixture.exchanges.markUncertain(claim, null, 'read');
    expect(await fixture.row(id)).toMatchObject({ uncertain_since, refresh_due_at });
    expect(await fixture.attempts(id)).toEqual([
      { outcome: 'uncertain', class: 'ambiguous', code: 'end_unknown' },
    ]);
  });
});
