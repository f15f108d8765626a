import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { superviseWorker, type PollingWorker } from '../../worker/supervise-worker.ts';

interface FakeWorker extends PollingWorker {
  fail(error: Error): void;
  end(): void;
  calls: string[];
}

function createFakeWorker(): FakeWorker {
  const calls: string[] = [];
  let fail: (error: Error) => void = () => undefined;
  let end: () => void = () => undefined;
  const running = new Promise<void>((resolve, reject) => {
    end = resolve;
    fail = reject;
  });
  return {
    calls,
    running,
    fail: (error) => fail(error),
    end: () => end(),
    shutdown() {
      calls.push('shutdown');
      end();
    },
    release() {
      calls.push('release');
      return Promise.resolve();
    },
  };
}

const away = new Error('Temporal is away');
const minuteMs = 60_000;

const fakedTime = {
  clock: { monotonicMs: () => Date.now(), wallMs: () => Date.now() },
  sleep: (ms: number, signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      setTimeout(resolve, ms);
      signal.addEventListener('abort', () => reject(new Error('aborted')));
    }),
};

/** Each element is what the next attempt meets; after the last, Temporal is away. */
function supervise(attempts: (FakeWorker | Error)[]) {
  const startedAtMs: number[] = [];
  const supervisor = superviseWorker({
    startWorker: () => {
      startedAtMs.push(Date.now());
      const next = attempts[startedAtMs.length - 1] ?? away;
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
    },
    mayHeal: (error) => error === away,
    ...fakedTime,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
  return { supervisor, startedAtMs };
}

describe('superviseWorker', () => {
  beforeEach(() => void vi.useFakeTimers({ now: 0 }));
  afterEach(() => void vi.useRealTimers());

  it('tries again after 1 s, doubling to 30 s, for as long as Temporal is away', async () => {
    const { supervisor, startedAtMs } = supervise([]);
    await supervisor.firstAttempt;
    await vi.advanceTimersByTimeAsync(2 * minuteMs);
    expect(startedAtMs.map((ms) => ms / 1_000)).toEqual([0, 1, 3, 7, 15, 31, 61, 91]);
    expect(supervisor.isPolling()).toBe(false);
    await supervisor.close();
  });

  it('creates another worker when one fails, and releases what the dead one held', async () => {
    const [first, second] = [createFakeWorker(), createFakeWorker()];
    const { supervisor } = supervise([first, second]);
    await supervisor.firstAttempt;
    expect(supervisor.isPolling()).toBe(true);
    first.fail(new Error('poll failed'));
    await vi.advanceTimersByTimeAsync(0);
    expect(supervisor.isPolling()).toBe(false);
    expect(first.calls).toEqual(['release']);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(supervisor.isPolling()).toBe(true);
    await supervisor.close();
    expect(second.calls).toEqual(['shutdown', 'release']);
  });

  it('creates another worker when one ends that nobody asked to', async () => {
    const first = createFakeWorker();
    const { supervisor, startedAtMs } = supervise([first, createFakeWorker()]);
    await supervisor.firstAttempt;
    first.end();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(startedAtMs).toHaveLength(2);
    await supervisor.close();
  });

  it('pauses longer when workers die young, and begins anew after one that lived', async () => {
    const [young, old] = [createFakeWorker(), createFakeWorker()];
    const { supervisor, startedAtMs } = supervise([away, young, old, createFakeWorker()]);
    await vi.advanceTimersByTimeAsync(1_000);
    young.fail(new Error('poll failed'));
    await vi.advanceTimersByTimeAsync(2_000);
    await vi.advanceTimersByTimeAsync(minuteMs);
    old.fail(new Error('poll failed'));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(startedAtMs.map((ms) => ms / 1_000)).toEqual([0, 1, 3, 64]);
    await supervisor.close();
  });

  it('gives up at once on a first failure that trying again does not heal', async () => {
    const { supervisor, startedAtMs } = supervise([new Error('no such bundle')]);
    await expect(supervisor.firstAttempt).rejects.toThrow('no such bundle');
    await expect(supervisor.running).rejects.toThrow('no such bundle');
    expect(startedAtMs).toHaveLength(1);
  });

  it('close while it waits ends the waiting, and no worker follows', async () => {
    const { supervisor, startedAtMs } = supervise([]);
    await supervisor.firstAttempt;
    await supervisor.close();
    await supervisor.running;
    await vi.advanceTimersByTimeAsync(minuteMs);
    expect(startedAtMs).toHaveLength(1);
  });

  it('close while a worker is being created lets that one end too', async () => {
    const late = createFakeWorker();
    let arrive: () => void = () => undefined;
    const supervisor = superviseWorker({
      startWorker: () => new Promise((resolve) => (arrive = () => resolve(late))),
      mayHeal: () => true,
      ...fakedTime,
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    });
    const closed = supervisor.close();
    arrive();
    await closed;
    expect(late.calls).toEqual(['shutdown', 'release']);
  });
});
