import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createReadiness, type ReadinessMonitor } from '../../platform/readiness.ts';

let monitor: ReadinessMonitor | undefined;
beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  monitor?.close();
  vi.useRealTimers();
});

function watch(answers: { postgres: () => Promise<unknown>; temporal: () => Promise<unknown> }) {
  monitor = createReadiness({
    checks: { postgres: () => answers.postgres(), temporal: () => answers.temporal() },
    required: ['postgres'],
  });
  return monitor;
}
const ok = () => Promise.resolve();
const away = () => Promise.reject(new Error('ECONNREFUSED'));
const hangs = () => new Promise(() => undefined);

describe('readiness', () => {
  it('is not_ready until PostgreSQL answered once', async () => {
    const answers = { postgres: away as () => Promise<unknown>, temporal: ok };
    const { current } = watch(answers);
    expect(current()).toEqual({
      status: 'not_ready',
      checks: { postgres: 'unchecked', temporal: 'unchecked' },
    });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(current()).toEqual({
      status: 'not_ready',
      checks: { postgres: 'unavailable', temporal: 'ok' },
    });
    answers.postgres = ok;
    await vi.advanceTimersByTimeAsync(500);
    expect(current().status).toBe('ready');
  });

  it('is degraded, never not_ready, when a dependency goes away later', async () => {
    const answers = { postgres: ok as () => Promise<unknown>, temporal: away };
    const { current } = watch(answers);
    await vi.advanceTimersByTimeAsync(0);
    expect(current().status).toBe('degraded');
    answers.postgres = away;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(current()).toEqual({
      status: 'degraded',
      checks: { postgres: 'unavailable', temporal: 'unavailable' },
    });
  });

  it('does not wait for a check that hangs, neither at the start nor later', async () => {
    const { current } = watch({ postgres: ok, temporal: hangs });
    await vi.advanceTimersByTimeAsync(0);
    expect(current().status).toBe('degraded');
    await vi.advanceTimersByTimeAsync(2_000);
    expect(current().checks).toEqual({ postgres: 'ok', temporal: 'unavailable' });
  });

  it('is not_ready while draining', async () => {
    const { current, drain } = watch({ postgres: ok, temporal: ok });
    await vi.advanceTimersByTimeAsync(0);
    drain();
    expect(current().status).toBe('not_ready');
  });

  it('ends its polling when closed', async () => {
    const postgres = vi.fn(ok);
    const { close } = watch({ postgres, temporal: ok });
    await vi.advanceTimersByTimeAsync(0);
    close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(postgres).toHaveBeenCalledTimes(1);
  });

  it('says of a Temporal without the namespace what is missing', async () => {
    const answers = { postgres: ok, temporal: () => Promise.resolve('namespace_not_found') };
    const { current } = watch(answers);
    await vi.advanceTimersByTimeAsync(500);
    expect(current()).toEqual({
      status: 'degraded',
      checks: { postgres: 'ok', temporal: 'namespace_not_found' },
    });
  });
});
