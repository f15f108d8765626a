import { describe, expect, it } from 'vitest';
import { endOfAttempt, type EndedAttempt } from '../../activities/attempt-end.ts';
import type { FailureClass } from '../../client/contract.ts';
import type { Failure } from '../../oauth/failure-class.ts';
import { defaultDeadlinesMs } from '../../oauth/rotation.ts';
import {
  sampleFailure,
  sampleIntent,
  sampleSubject,
  secondsLater,
} from '../connections/sample-connection.ts';
import { defineProvider } from '../oauth/definitions.ts';

const failure = (failureClass: FailureClass, code: string): Failure => ({
  kind: 'failure',
  class: failureClass,
  code,
  retryAfterSeconds: null,
  reason: failureClass === 'permanent' ? 'revoked' : null,
});
const refused = failure('permanent', 'invalid_grant');
const lost = failure('ambiguous', 'ECONNRESET');

function attempt(
  rotation: Record<string, unknown>,
  members: Partial<EndedAttempt> & { ambiguity?: Record<string, unknown> } = {},
): EndedAttempt {
  const { ambiguity = {}, ...others } = members;
  return {
    input: {
      connectionId: 'c1',
      newerThan: 7,
      trigger: 'force',
      replayOf: null,
      unsettled: null,
    },
    subject: sampleSubject({}),
    replay: null,
    claim: {
      connectionId: 'c1',
      generation: 3,
      attempt: 6,
      claimedAt: secondsLater(0),
      replays: 0,
    },
    claimId: 'claim',
    record: { trigger: 'force', runId: 'run', durationMs: 1_000 },
    definition: defineProvider({ rotation, ambiguity }),
    deadlinesMs: defaultDeadlinesMs,
    fraction: 0.5,
    ...others,
  };
}

describe('a refusal', () => {
  it.each([
    ['S', 'revoked'],
    ['L', 'revoked'],
    ['C', 'revoked'],
    ['X', 'lost_rotation'],
    ['F', 'lost_rotation'],
  ])('of a replay in class %s means %s', (rotationClass, reason) => {
    const replayed = attempt({ class: rotationClass }, { replay: sampleIntent() });
    expect(endOfAttempt(replayed, refused).settlement).toMatchObject({
      class: 'permanent',
      reason,
    });
    const first = attempt({ class: rotationClass });
    expect(endOfAttempt(first, refused).settlement).toMatchObject({ reason: 'revoked' });
  });

  it('after the end that the provider had announced means expired', () => {
    const subject = { ...sampleSubject({}), refreshTokenExpiresAt: secondsLater(-1) };
    const ended = endOfAttempt(attempt({ class: 'F' }, { subject }), refused);
    expect(ended.settlement).toMatchObject({ reason: 'expired' });
  });

  it('has to be said twice where the definition says so', () => {
    const ambiguity = { confirm_after_seconds: 30 };
    const once = endOfAttempt(attempt({ class: 'S' }, { ambiguity }), refused).settlement;
    expect(once).toMatchObject({ class: 'transient', code: 'invalid_grant', retryAfterMs: 30_000 });
    const said = sampleFailure({ class: 'transient', code: 'invalid_grant' });
    const subject = sampleSubject({ failure: said });
    const twice = endOfAttempt(attempt({ class: 'S' }, { ambiguity, subject }), refused).settlement;
    expect(twice).toMatchObject({ class: 'permanent', reason: 'revoked' });
  });
});

describe('a lost answer', () => {
  it('of class F is due in the last minute of the access token, and forgotten until then', () => {
    const { settlement, decision } = endOfAttempt(attempt({ class: 'F' }), lost);
    expect(decision).toBe('uncertain');
    expect(settlement).toMatchObject({
      isFateOpen: true,
      retryAfterMs: 0,
      // Half an hour is left of it, and the attempt took a second.
      refreshDueAfterMs: 1_739_000,
    });
  });

  it.each(['X', 'F'])(
    'of class %s is not replayed while the provider may still work on it',
    (name) => {
      const subject = sampleSubject({ expiresAt: secondsLater(-1) });
      const { settlement, decision } = endOfAttempt(attempt({ class: name }, { subject }), lost);
      expect(decision).toBe('replay');
      expect(settlement).toMatchObject({ retryAfterMs: 5_000, refreshDueAfterMs: 5_000 });
    },
  );

  it.each([
    ['X', {}, true],
    ['C', {}, false],
    ['T', { grace_seconds: 600 }, false],
    ['T', { grace_seconds: 30 }, true],
  ])('of a replay of class %s %o counts: %s', (name, members, isReplayCounted) => {
    const replay = sampleIntent({ firstSentAt: secondsLater(-90) });
    const ended = endOfAttempt(attempt({ class: name, ...members }, { replay }), lost);
    expect(ended.settlement).toMatchObject({ isFateOpen: true, isReplayCounted });
  });
});

describe('a success without tokens', () => {
  const empty = failure('protocol_break', 'http_200');

  it.each([
    ['S', false],
    ['L', false],
    ['C', false],
    ['X', true],
    ['F', true],
  ])('of class %s leaves the fate of the refresh token open: %s', (name, isFateOpen) => {
    const { settlement } = endOfAttempt(attempt({ class: name }), empty);
    expect(settlement).toMatchObject({ class: 'protocol_break', isFateOpen });
  });

  it('does not where it names an error', () => {
    const named = failure('protocol_break', 'something_else');
    const { settlement } = endOfAttempt(attempt({ class: 'F' }), named);
    expect(settlement).toMatchObject({ isFateOpen: false });
  });

  it('is none of the replays that were lost', () => {
    const { settlement } = endOfAttempt(attempt({ class: 'X' }, { replay: sampleIntent() }), empty);
    expect(settlement).toMatchObject({ isReplayCounted: false });
  });
});
