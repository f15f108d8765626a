import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decideAmbiguity,
  isRefusedReplayLost,
  isReplayCounted,
  type AmbiguityFacts,
  type ProbeState,
} from '../../oauth/ambiguity.ts';
import type { Rotation } from '../../oauth/rotation.ts';

const classes = ['S', 'L', 'T', 'C', 'X', 'F'] as const;

const rotation = (name: Rotation['class'], oldAccessTokenDies = false): Rotation => ({
  class: name,
  graceSeconds: name === 'T' ? 30 : null,
  oldAccessTokenDies,
});
const facts: AmbiguityFacts = {
  replays: 0,
  isInsideGrace: false,
  accessTokenEndsInMs: 3_600_000,
  isRejected: false,
  probe: 'none',
};
const byClass = { policy: 'by_class' } as const;
const neverReplay = { policy: 'never_replay' } as const;
const beforeExpiry = { kind: 'wait', forMs: 3_540_000 };

describe('after a lost answer', () => {
  it.each(['S', 'L', 'C'] as const)('class %s replays, as often as it takes', (name) => {
    const worst = { ...facts, replays: 50, probe: 'inactive' } as const;
    expect(decideAmbiguity(rotation(name), byClass, worst)).toEqual({ kind: 'replay' });
  });

  it('class T replays inside its grace, and counts as F after it', () => {
    const inside = { ...facts, replays: 50, isInsideGrace: true };
    expect(decideAmbiguity(rotation('T'), byClass, inside)).toEqual({ kind: 'replay' });
    expect(decideAmbiguity(rotation('T'), byClass, facts)).toEqual(beforeExpiry);
  });

  it('class X replays until three of its replays had no answer, and then is lost', () => {
    const decide = (replays: number) =>
      decideAmbiguity(rotation('X'), byClass, { ...facts, replays }).kind;
    expect([0, 1, 2, 3].map(decide)).toEqual(['replay', 'replay', 'replay', 'lost']);
  });

  it.each<[string, Partial<AmbiguityFacts>, Rotation, object]>([
    ['asks the server first', { probe: 'offered' }, rotation('F'), { kind: 'probe' }],
    ['replays a token that lives', { probe: 'active' }, rotation('F'), { kind: 'replay' }],
    ['is lost if it does not', { probe: 'inactive' }, rotation('F'), { kind: 'lost' }],
    ['goes on without an answer', { probe: 'unknown' }, rotation('F'), beforeExpiry],
    ['waits for the end of the access token', {}, rotation('F'), beforeExpiry],
    ['waits for good', { accessTokenEndsInMs: null }, rotation('F'), { kind: 'wait', forMs: null }],
    [
      'replays in the last minute',
      { accessTokenEndsInMs: 60_000 },
      rotation('F'),
      { kind: 'replay' },
    ],
    ['replays after the end', { accessTokenEndsInMs: 0 }, rotation('F'), { kind: 'replay' }],
    ['replays for a refused token', { isRejected: true }, rotation('F'), { kind: 'replay' }],
    ['replays if the old token dies', {}, rotation('F', true), { kind: 'replay' }],
    [
      'is lost after three replays',
      { replays: 3, accessTokenEndsInMs: 0 },
      rotation('F'),
      { kind: 'lost' },
    ],
  ])('class F %s', (_name, given, rule, decision) => {
    expect(decideAmbiguity(rule, byClass, { ...facts, ...given })).toEqual(decision);
  });

  it.each(['X', 'F'] as const)('class %s never replays where the definition forbids it', (name) => {
    const decide = (given: Partial<AmbiguityFacts>) =>
      decideAmbiguity(rotation(name), neverReplay, { ...facts, isRejected: true, ...given });
    expect(decide({})).toEqual({ kind: 'wait', forMs: 3_600_000 });
    expect(decide({ accessTokenEndsInMs: -1 })).toEqual({ kind: 'lost' });
  });

  it('never loses a grant whose provider forgives replays, and never waits for the past', () => {
    const anyFacts = fc.record({
      replays: fc.nat({ max: 10 }),
      isInsideGrace: fc.boolean(),
      accessTokenEndsInMs: fc.option(fc.integer({ min: -10_000, max: 10_000_000 })),
      isRejected: fc.boolean(),
      probe: fc.constantFrom<ProbeState>('offered', 'active', 'inactive', 'unknown', 'none'),
    });
    fc.assert(
      fc.property(fc.constantFrom(...classes), fc.boolean(), anyFacts, (name, dies, given) => {
        const decision = decideAmbiguity(rotation(name, dies), byClass, given);
        const isForgiving = name === 'S' || name === 'L' || name === 'C';
        if (isForgiving || (name === 'T' && given.isInsideGrace)) {
          expect(decision).toEqual({ kind: 'replay' });
        }
        if (decision.kind === 'wait' && decision.forMs !== null) {
          expect(decision.forMs).toBeGreaterThan(0);
        }
        // Once nobody serves it any more there is nothing to wait for.
        const hasExpired = given.accessTokenEndsInMs !== null && given.accessTokenEndsInMs <= 0;
        if (hasExpired) expect(decision.kind).not.toBe('wait');
      }),
    );
  });
});

it('replays count only where they are few', () => {
  const counted = classes.filter((name) => isReplayCounted(rotation(name), false));
  expect(counted).toEqual(['T', 'X', 'F']);
  expect(isReplayCounted(rotation('T'), true)).toBe(false);
});

it('a refused replay is a lost answer where the old token dies with it', () => {
  expect(classes.filter((name) => isRefusedReplayLost(rotation(name)))).toEqual(['T', 'X', 'F']);
});
