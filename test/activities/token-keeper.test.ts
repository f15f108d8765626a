import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createTokenKeeper } from '../../activities/token-keeper.ts';
import type { CommitOutcome } from '../../connections/exchange.ts';

const fence = { connectionId: 'c', generation: 1, attempt: 1 };

function createKeeper() {
  const stored: CommitOutcome[] = [];
  let unstored = 0;
  const keeper = createTokenKeeper({
    unstored: { inc: () => (unstored += 1), dec: () => (unstored -= 1) },
    onStored: (_fence, outcome) => stored.push(outcome),
  });
  return { keeper, stored, gauge: () => unstored };
}

describe('createTokenKeeper', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('tries every second until the store takes the tokens', async () => {
    const { keeper, stored, gauge } = createKeeper();
    const commit = vi.fn(() => Promise.reject<CommitOutcome>(new Error('the store is away')));
    keeper.keep({ fence, commit });
    await vi.advanceTimersByTimeAsync(3_000);
    expect(commit).toHaveBeenCalledTimes(3);
    expect(gauge()).toBe(1);
    commit.mockImplementation(() => Promise.resolve('stored'));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(commit).toHaveBeenCalledTimes(4);
    expect(stored).toEqual(['stored']);
    expect(gauge()).toBe(0);
  });

  it('a last try does not wait for the second to pass, and counts tokens once', async () => {
    const { keeper, stored, gauge } = createKeeper();
    keeper.keep({ fence, commit: () => Promise.resolve('stored') });
    await Promise.all([keeper.tryOnce(), keeper.tryOnce()]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(stored).toEqual(['stored']);
    expect(keeper.count()).toBe(0);
    expect(gauge()).toBe(0);
  });

  it('a last try that fails keeps the tokens until it is stopped', async () => {
    const { keeper } = createKeeper();
    const commit = vi.fn(() => Promise.reject<CommitOutcome>(new Error('the store is away')));
    keeper.keep({ fence, commit });
    await keeper.tryOnce();
    expect(keeper.count()).toBe(1);
    keeper.stop();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(commit).toHaveBeenCalledTimes(1);
  });
});
