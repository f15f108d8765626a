import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import { createStoreOutage } from '../../gateway/store-outage.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const away = () => Promise.reject(new TokenManagerError('store_unavailable'));
const there = () => Promise.resolve('row');
const never = () => new Promise<string>(() => undefined);

function createFakes() {
  let reads = 0;
  const outage = createStoreOutage({ monotonicMs: () => performance.now(), wallMs: () => 0 });
  return {
    reads: () => reads,
    guard: (read: () => Promise<string>) =>
      outage
        .guard(() => {
          reads += 1;
          return read();
        })
        .catch((error: unknown) =>
          error instanceof TokenManagerError ? error.code : (error as Error).message,
        ),
  };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe('a store that is away', () => {
  it('is not asked again for a second, whoever comes', async () => {
    const { guard, reads } = createFakes();
    await guard(away);
    const asked = reads();
    for (let caller = 0; caller < 100; caller += 1) {
      expect(await guard(there)).toBe('store_unavailable');
    }
    await pass(999);
    expect(await guard(there)).toBe('store_unavailable');
    expect(reads()).toBe(asked);
    await pass(1);
    expect(await guard(there)).toBe('row');
  });

  it('is asked by one read at a time after that, while the rest fail at once', async () => {
    const { guard, reads } = createFakes();
    await guard(away);
    await pass(1_000);
    const asked = reads();
    const probe = guard(never);
    for (let caller = 0; caller < 100; caller += 1) {
      expect(await guard(there)).toBe('store_unavailable');
    }
    expect(reads()).toBe(asked + 1);
    await pass(2_000);
    expect(await probe).toBe('store_unavailable');
    expect(await guard(there)).toBe('store_unavailable');
    await pass(1_000);
    expect(await guard(there)).toBe('row');
    expect(await guard(there)).toBe('row');
  });

  it('is asked only once by that read, which is no surprise any more', async () => {
    const { guard, reads } = createFakes();
    await guard(away);
    await pass(1_000);
    const asked = reads();
    await guard(away);
    expect(reads()).toBe(asked + 1);
  });

  it('is away when it takes 2 s, and a caller waits no longer', async () => {
    const { guard, reads } = createFakes();
    const reading = guard(never);
    await pass(2_000);
    expect(await reading).toBe('store_unavailable');
    expect(await guard(there)).toBe('store_unavailable');
    expect(reads()).toBe(1);
  });

  it('is there again when a read that began later came back first', async () => {
    const { guard } = createFakes();
    const slow = guard(never);
    await pass(1_000);
    expect(await guard(there)).toBe('row');
    await pass(1_000);
    expect(await slow).toBe('store_unavailable');
    expect(await guard(there)).toBe('row');
  });
});

describe('a read that fails', () => {
  it('is repeated once if it was cut off at once, which one broken connection explains', async () => {
    const { guard, reads } = createFakes();
    const answers = [away, there];
    expect(await guard(() => (answers.shift() ?? never)())).toBe('row');
    expect(reads()).toBe(2);
    expect(await guard(there)).toBe('row');
  });

  it('is not repeated if it took its time', async () => {
    const { guard, reads } = createFakes();
    const late = () => new Promise<void>((resolve) => setTimeout(resolve, 500)).then(away);
    const reading = guard(late);
    await pass(500);
    expect(await reading).toBe('store_unavailable');
    expect(reads()).toBe(1);
  });

  it('says nothing of the store when it is a fault of the statement', async () => {
    const { guard, reads } = createFakes();
    expect(await guard(() => Promise.reject(new Error('syntax')))).toBe('syntax');
    expect(await guard(there)).toBe('row');
    expect(reads()).toBe(2);
  });

  it('ends an outage when the store answered, if only with a fault', async () => {
    const { guard } = createFakes();
    await guard(away);
    await pass(1_000);
    expect(await guard(() => Promise.reject(new Error('syntax')))).toBe('syntax');
    expect(await guard(there)).toBe('row');
  });
});
