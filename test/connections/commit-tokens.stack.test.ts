import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommitOutcome, Fence, SealedTokens } from '../../connections/exchange.ts';
import { Secret } from '../../platform/secret.ts';
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

async function commit(fence: Fence, tokens: SealedTokens): Promise<CommitOutcome> {
  const sealedResult = await fixture.sealResult(fence.connectionId, fence.generation);
  return fixture.exchanges.commit(fence, tokens, record, sealedResult);
}

/** Commits tokens whose values name the attempt. */
async function commitOwn(fence: Fence): Promise<CommitOutcome> {
  return commit(fence, await tokensOf(fence));
}

function tokensOf({ connectionId, generation, attempt }: Fence): Promise<SealedTokens> {
  return fixture.seal(connectionId, generation, {
    access: `at-${attempt}`,
    refresh: `rt-${attempt}`,
  });
}

describe('a commit', () => {
  it('stores both tokens, begins a generation, and clears what stood against the connection', async () => {
    const id = await fixture.addConnection({ metadata: { kept: 1, changed: 1 } });
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    await fixture.set(
      id,
      `uncertain_since = now(), next_attempt_at = now(), failure_class = 'transient',
       failure_code = 'http_503', failure_at = now(), failure_count = 3`,
    );
    const before = await fixture.now();
    const facts = {
      access: 'at-1',
      refresh: 'rt-1',
      tokenType: 'DPoP',
      scope: 'a b',
      expiryAssumed: true,
      metadata: { changed: 2 },
    };
    const tokens = await fixture.seal(id, 1, facts);
    expect(await commit(claim, tokens)).toBe('stored');
    const row = await fixture.row(id);
    expect(row).toMatchObject({
      generation: 2,
      token_version: 2,
      attempt: 1,
      token_type: 'DPoP',
      scope: 'a b',
      expires_at: tokens.expiresAt,
      refresh_due_at: tokens.refreshDueAt,
      lifetime_seconds: 3_600,
      expiry_assumed: true,
      metadata: { kept: 1, changed: 2 },
      uncertain_since: null,
      next_attempt_at: null,
      failure_class: null,
      failure_count: 0,
      refresh_fingerprint: tokens.refreshFingerprint,
    });
    expect((row['last_refreshed_at'] as Date).getTime()).toBeGreaterThanOrEqual(before.getTime());
    expect(await fixture.openTokens(id)).toEqual({ access: 'at-1', refresh: 'rt-1' });
    expect(await fixture.intent(id)).toBeUndefined();
    expect(await fixture.attempts(id)).toEqual([{ outcome: 'refreshed', class: null, code: null }]);
    expect(await fixture.events(id)).toEqual([]);
  });

  it('told twice is superseded by itself', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    expect(await commitOwn(claim)).toBe('stored');
    const row = await fixture.row(id);
    expect(await commitOwn(claim)).toBe('superseded');
    expect(await fixture.row(id)).toEqual(row);
    expect(await fixture.attempts(id)).toHaveLength(1);
  });

  it('remembers every refresh token that the connection held', async () => {
    const id = await fixture.addConnection();
    for (const generation of [1, 2]) {
      await commitOwn(await takeClaim(fixture.exchanges, claimRequest(id, { generation })));
    }
    const sealer = await fixture.vault.sealer();
    const { rows } = await fixture.pool.query<{ fingerprint: Buffer }>(
      'select fingerprint from refresh_token_fingerprints where connection_id = $1',
      [id],
    );
    const held = [`rt-of-${id}`, 'rt-1', 'rt-2'];
    expect(rows.map(({ fingerprint }) => fingerprint.toString('hex')).sort()).toEqual(
      held.map((token) => sealer.fingerprint(new Secret(token)).toString('hex')).sort(),
    );
  });

  it('of a refresh token alone raises the generation, not the version, and waits', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const before = await fixture.now();
    const tokens = await fixture.seal(id, 1, {
      access: `at-of-${id}`,
      refresh: 'rt-rotated',
      isNewAccessToken: false,
      failure: { class: 'protocol_break', code: 'no_access_token', retryAfterMs: 5_000 },
    });
    expect(await commit(claim, tokens)).toBe('stored');
    const row = await fixture.row(id);
    expect(row).toMatchObject({
      generation: 2,
      token_version: 1,
      last_refreshed_at: null,
      failure_class: 'protocol_break',
      failure_code: 'no_access_token',
      failure_count: 1,
    });
    expect((row['next_attempt_at'] as Date).getTime()).toBeGreaterThanOrEqual(
      before.getTime() + 5_000,
    );
    expect(await fixture.attempts(id)).toEqual([
      { outcome: 'waiting', class: 'protocol_break', code: 'no_access_token' },
    ]);
  });

  it('leaves no due time in the past, however late it comes', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const before = await fixture.now();
    const refreshDueAt = new Date(before.getTime() - 60_000);
    expect(await commit(claim, await fixture.seal(id, 1, { refreshDueAt }))).toBe('stored');
    const { refresh_due_at } = await fixture.row(id);
    expect((refresh_due_at as Date).getTime()).toBeGreaterThanOrEqual(before.getTime());
  });

  it('without a due time stores none', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    await commit(claim, await fixture.seal(id, 1, { refreshDueAt: null }));
    expect(await fixture.row(id)).toMatchObject({ refresh_due_at: null });
  });

  it.each([
    ['newer credentials', 'generation = 2'],
    ['a deletion', 'generation = 2, deleted_at = now()'],
  ])('is superseded by %s', async (_name, assignments) => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    await fixture.set(id, assignments);
    const row = await fixture.row(id);
    expect(await commitOwn(claim)).toBe('superseded');
    expect(await fixture.row(id)).toEqual(row);
  });

  it('to no connection at all is superseded', async () => {
    const id = await fixture.addConnection();
    const fence = { connectionId: 'nobody', generation: 1, attempt: 1 };
    const tokens = await fixture.seal(id, 1, {});
    expect(await commit(fence, tokens)).toBe('superseded');
  });

  it('is stored although the connection was paused meanwhile', async () => {
    const id = await fixture.addConnection();
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    await fixture.set(id, 'paused_at = now()');
    expect(await commitOwn(claim)).toBe('stored');
  });
});

describe('tokens that come while a later attempt is open', () => {
  it('lie sealed in its intent, and lose to its own', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    const row = await fixture.row(id);
    expect(await commitOwn(first)).toBe('late');
    expect(await fixture.row(id)).toEqual(row);
    const sealed = (await fixture.intent(id))?.['late_sealed'];
    const opened = await fixture.vault.open(
      'sealed-result',
      { tenantId: 'tenant', id, generation: 1 },
      sealed as Buffer,
    );
    expect(opened.reveal()).toBe('{}');
    expect(await commitOwn(second)).toBe('stored');
    expect(await fixture.openTokens(id)).toEqual({ access: 'at-2', refresh: 'rt-2' });
    expect(await fixture.intent(id)).toBeUndefined();
    expect(await commitOwn(first)).toBe('superseded');
  });

  it('are stored when the later attempt brings none', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    expect(await commitOwn(first)).toBe('late');
    expect(await fixture.exchanges.settle(verdict(second))).toBe(false);
    const late = { ...second, lateAttempt: first.attempt };
    expect(await fixture.exchanges.commitLate(late, await tokensOf(first), record)).toBe(true);
    expect(await fixture.openTokens(id)).toEqual({ access: 'at-1', refresh: 'rt-1' });
    expect(await fixture.row(id)).toMatchObject({ generation: 2, uncertain_since: null });
    expect(await fixture.intent(id)).toBeUndefined();
    expect(await fixture.exchanges.commitLate(late, await tokensOf(first), record)).toBe(false);
    expect((await fixture.attempts(id)).map(({ outcome }) => outcome)).toEqual([
      'uncertain',
      'refreshed',
    ]);
  });

  it.each([
    [1, 2],
    [2, 1],
  ])('the newest of them stay, whether %d or %d comes first', async (...order) => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    await fixture.exchanges.settle(settlement(second, { class: 'ambiguous', retryAfterMs: 0 }));
    const third = await takeClaim(fixture.exchanges, claimRequest(id, { replayOf: 2 }));
    const fences = [first, second];
    for (const attempt of order) {
      const fence = fences[attempt - 1];
      if (fence !== undefined) expect(await commitOwn(fence)).toBe('late');
    }
    expect(await fixture.intent(id)).toMatchObject({ attempt: 3, late_attempt: 2 });
    // Who read the older ones before cannot store them any more.
    const read = { ...third, lateAttempt: 1 };
    expect(await fixture.exchanges.commitLate(read, await tokensOf(first), record)).toBe(false);
    const newest = { ...third, lateAttempt: 2 };
    expect(await fixture.exchanges.commitLate(newest, await tokensOf(second), record)).toBe(true);
    expect(await fixture.openTokens(id)).toEqual({ access: 'at-2', refresh: 'rt-2' });
  });
});

describe('tokens that come when a later attempt has ended without any', () => {
  it('lie in its intent where the fate of the token was left open', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    await fixture.exchanges.settle(settlement(second, { retryAfterMs: 0 }));
    expect(await commitOwn(first)).toBe('late');
    const subject = await fixture.exchanges.load(id);
    expect(subject?.intent).toMatchObject({ attempt: 2, late: { attempt: 1 } });
  });

  it('are stored, and end the verdict on the same generation', async () => {
    const id = await fixture.addConnection();
    const { first, second } = await takeReplay(fixture.exchanges, id);
    expect(await fixture.exchanges.settle(verdict(second))).toBe(true);
    expect(await commitOwn(first)).toBe('stored');
    expect(await fixture.row(id)).toMatchObject({ generation: 2, verdict: null, verdict_at: null });
    expect(await fixture.openTokens(id)).toEqual({ access: 'at-1', refresh: 'rt-1' });
    expect(await fixture.events(id)).toEqual([
      { type: 'connection.reauthorization_required', data: { reason: 'revoked' } },
      { type: 'connection.recovered', data: { after: 'revoked' } },
    ]);
  });

  it('are stored although a later first send was settled', async () => {
    const id = await fixture.addConnection();
    const first = await takeClaim(fixture.exchanges, claimRequest(id));
    // As when the end of the first was reported by a process that did not know of its answer.
    await fixture.exchanges.settle(settlement(first, { retryAfterMs: 0 }));
    const second = await takeClaim(fixture.exchanges, claimRequest(id));
    await fixture.exchanges.settle(settlement(second, { retryAfterMs: 0 }));
    expect(await commitOwn(first)).toBe('stored');
    expect(await fixture.openTokens(id)).toEqual({ access: 'at-1', refresh: 'rt-1' });
  });
});
