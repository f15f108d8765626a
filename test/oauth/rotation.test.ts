import { describe, expect, it } from 'vitest';
import {
  isCrashInsideGrace,
  providerDeadlineMs,
  replayBudgetMs,
  settlingMs,
  type Rotation,
} from '../../oauth/rotation.ts';

const rotation = (
  rotationClass: Rotation['class'],
  graceSeconds: number | null = null,
): Rotation => ({
  class: rotationClass,
  graceSeconds,
  oldAccessTokenDies: false,
});

describe('rotation', () => {
  it.each([
    ['S', null, 15_000, 5_000],
    ['L', null, 15_000, 5_000],
    ['C', null, 15_000, 5_000],
    ['T', 30, 7_500, 3_000],
    ['T', 600, 10_000, 5_000],
    ['X', null, 60_000, 5_000],
    ['F', null, 60_000, 5_000],
  ] as const)('class %s (%s s): %s ms deadline, %s ms settling', (name, grace, ...expected) => {
    const rule = rotation(name, grace);
    expect([providerDeadlineMs(rule), settlingMs(rule)]).toEqual(expected);
  });

  it('class T of 30 s survives a crash and ends its budget at 20.5 s; 12 s does not', () => {
    expect(replayBudgetMs(rotation('T', 30))).toBe(20_500);
    expect(isCrashInsideGrace(rotation('T', 30))).toBe(true);
    expect(isCrashInsideGrace(rotation('T', 12))).toBe(false);
  });
});
