import { describe, expect, it } from 'vitest';
import { planChaos, providerFaults } from './chaos-schedule.ts';

const lengthMs = 20 * 60_000;

describe('the schedule of faults', () => {
  it('is the same for the same seed, and another for another', () => {
    const schedule = planChaos({ seed: 7, lengthMs });
    expect(planChaos({ seed: 7, lengthMs })).toEqual(schedule);
    expect(planChaos({ seed: 8, lengthMs })).not.toEqual(schedule);
  });

  it('holds every kind of fault', () => {
    const kinds = new Set(
      planChaos({ seed: 1, lengthMs }).map(({ what, victim }) =>
        victim === 'provider' ? what : `${what} ${victim.replace(/-\d$/, '')}`,
      ),
    );
    const services = ['kill', 'terminate', 'stop'].flatMap((what) => [
      `${what} gateway`,
      `${what} worker`,
    ]);
    expect([...kinds].toSorted()).toEqual(
      [...services, 'kill postgres', 'kill temporal', ...providerFaults].toSorted(),
    );
  });

  it.each([2, 20])('leaves the last quarter of %i minutes to healing', (minutes) => {
    for (let seed = 0; seed < 50; seed += 1) {
      const schedule = planChaos({ seed, lengthMs: minutes * 60_000 });
      expect(schedule.length).toBeGreaterThan(5);
      const endMs = Math.max(...schedule.map(({ atMs, durationMs }) => atMs + durationMs));
      expect(endMs).toBeLessThanOrEqual(0.75 * minutes * 60_000);
    }
  });

  it('strikes together sometimes, a victim only once at a time', () => {
    const schedule = planChaos({ seed: 3, lengthMs });
    const overlapping = schedule.flatMap((one, index) =>
      schedule
        .slice(index + 1)
        .filter((other) => other.atMs < one.atMs + one.durationMs)
        .map((other) => [one, other] as const),
    );
    expect(overlapping.length).toBeGreaterThan(10);
    for (const [one, other] of overlapping) expect(one.victim).not.toBe(other.victim);
  });
});
