import { describe, expect, it } from 'vitest';
import {
  awaitFreshToken,
  type AwaitFreshTokenInput,
  type AwaitStep,
  type WaitDependencies,
} from '../../activities/await-fresh-token.ts';
import { TokenManagerError, type RefreshResult } from '../../client/contract.ts';
import type { Connection } from '../../connections/connection.ts';
import { connectionRow, expired, resultOf, secondsFromStart } from '../gateway/gateway-fakes.ts';

type Ending = Awaited<ReturnType<WaitDependencies['awaitRefresh']>>;
type Wanted = Parameters<WaitDependencies['awaitRefresh']>[0];

const deadline: Ending = { kind: 'deadline' };
const ended = (outcome: RefreshResult | undefined): Ending => ({ kind: 'ended', outcome });
const refreshedRow = connectionRow({ tokenVersion: 8 });

/** What the rows are that are read one after the other, and how the waits for refreshes end. */
async function turn(
  rows: (Connection | undefined)[],
  endings: Ending[] = [],
  input: Partial<AwaitFreshTokenInput> = {},
): Promise<{ step: AwaitStep; asked: Wanted[] }> {
  const asked: Wanted[] = [];
  const left = [...rows];
  const step = await awaitFreshToken(
    {
      readConnection: () => Promise.resolve(left.length > 1 ? left.shift() : left[0]),
      awaitRefresh(wanted) {
        const ending = endings[asked.length];
        asked.push(wanted);
        return ending === undefined
          ? Promise.reject(new Error('no refresh was to be asked for'))
          : Promise.resolve(ending);
      },
      clock: { monotonicMs: () => 0 },
    },
    { connectionId: 'c1', arrival: null, ...input },
    { traceparent: '', stopped: new AbortController().signal },
  );
  return { step, asked };
}

function outcomeOf({ step }: { step: AwaitStep }): string {
  return step.next === 'end' ? step.result.outcome : step.next;
}

const waitingRow = (seconds: number) =>
  connectionRow({
    ...expired,
    nextAttemptAt: secondsFromStart(seconds),
    failure: { class: 'transient', code: 'http_503', at: secondsFromStart(-1), count: 1 },
  });

describe('awaitFreshToken, from the row alone', () => {
  it.each([
    ['a valid token', connectionRow(), {}, 'already_fresh'],
    ['no row', undefined, {}, 'gone'],
    ['deleted', connectionRow({ deletedAt: secondsFromStart(-1) }), {}, 'gone'],
    [
      'paused, expired',
      connectionRow({ ...expired, pausedAt: secondsFromStart(-1) }),
      {},
      'paused',
    ],
    ['paused, valid', connectionRow({ pausedAt: secondsFromStart(-1) }), {}, 'already_fresh'],
    [
      'under a verdict',
      connectionRow({ ...expired, verdict: 'revoked' }),
      {},
      'reauthorization_required',
    ],
    [
      'no refresh token, refused',
      connectionRow({ hasRefreshToken: false }),
      { rejectedTokenVersion: 7 },
      'reauthorization_required',
    ],
    ['waiting for long', waitingRow(31), {}, 'waiting'],
    ['an older version refused', connectionRow(), { rejectedTokenVersion: 6 }, 'already_fresh'],
    ['newer than an older one', connectionRow(), { newerThan: 6 }, 'already_fresh'],
    ['enough time left', connectionRow(), { minTtlSeconds: 1_799 }, 'already_fresh'],
  ] as const)('%s', async (_name, row, input, outcome) => {
    const end = await turn([row], [], input);
    expect(outcomeOf(end)).toBe(outcome);
    expect(end.asked).toEqual([]);
  });

  it('refuses versions that were never handed out', async () => {
    for (const input of [{ newerThan: 8 }, { rejectedTokenVersion: 8 }]) {
      await expect(turn([connectionRow()], [], input)).rejects.toMatchObject({
        type: 'input_validation',
        nonRetryable: true,
      });
    }
  });
});

describe('awaitFreshToken, with a refresh', () => {
  const refreshed = ended(resultOf(refreshedRow, 'refreshed'));

  it.each([
    ['expired', connectionRow(expired), {}, 'workflow'],
    ['past its due time', connectionRow({ refreshDueAt: secondsFromStart(-1) }), {}, 'workflow'],
    ['too little time left', connectionRow(), { minTtlSeconds: 1_801 }, 'workflow'],
    ['newer wanted', connectionRow(), { newerThan: 7 }, 'workflow'],
    ['refused', connectionRow(), { rejectedTokenVersion: 7 }, 'rejected'],
    ['a short wait, which the run sleeps through', waitingRow(30), {}, 'workflow'],
  ] as const)('%s: asks for one newer than at arrival', async (_name, row, input, trigger) => {
    const end = await turn([row, refreshedRow], [refreshed], input);
    expect(outcomeOf(end)).toBe('refreshed');
    expect(end.asked).toEqual([
      expect.objectContaining({ connectionId: 'c1', newerThan: 7, trigger }),
    ]);
  });

  it('hands the arrival on when the turn is over, and is judged by it in the next', async () => {
    const first = await turn([connectionRow()], [deadline], { minTtlSeconds: 3_000 });
    expect(first.step).toMatchObject({ next: 'again', afterMs: 0 });
    const { arrival } = first.step as Extract<AwaitStep, { next: 'again' }>;
    // Stored meanwhile with less time than was asked for: it was stored after the call.
    const second = await turn([refreshedRow], [], { minTtlSeconds: 3_000, arrival });
    expect(outcomeOf(second)).toBe('refreshed');
  });

  it('shares a failure, and keeps a token that is valid', async () => {
    const row = connectionRow(expired);
    const failed = ended(resultOf(row, 'uncertain'));
    expect(outcomeOf(await turn([row], [failed]))).toBe('uncertain');
    const due = connectionRow({ refreshDueAt: secondsFromStart(-1) });
    expect(outcomeOf(await turn([due], [failed]))).toBe('already_fresh');
  });

  it('has a refused token tried once more after a run that did not know of it', async () => {
    const row = connectionRow(expired);
    const uncertain = ended(resultOf(row, 'uncertain'));
    const end = await turn([row, row, refreshedRow], [uncertain, refreshed], {
      rejectedTokenVersion: 7,
    });
    expect(outcomeOf(end)).toBe('refreshed');
    expect(end.asked).toHaveLength(2);
  });

  it('asks twice a turn at most, then pauses', async () => {
    const end = await turn([connectionRow(expired)], [ended(undefined), ended(undefined)]);
    expect(end.step).toMatchObject({ next: 'again', afterMs: 1_000 });
  });

  it('fails with what keeps Temporal or PostgreSQL from being asked, to be tried again', async () => {
    const error = new TokenManagerError('refresh_engine_unavailable');
    await expect(turn([connectionRow(expired)], [{ kind: 'failed', error }])).rejects.toBe(error);
  });
});
