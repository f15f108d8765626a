import { describe, expect, it } from 'vitest';
import type { Connection } from '../../connections/connection.ts';
import {
  exchangeStanding,
  type ExchangeStanding,
  type StandingQuestion,
} from '../../connections/exchange-standing.ts';
import { readAt, sampleIntent, sampleSubject, secondsLater } from './sample-connection.ts';

const now = readAt;
const ifDue = { newerThan: null, replayOf: null, now };
/** What `force` asks: newer than the version of the sample. */
const newer = { newerThan: 7, replayOf: null, now };
const late = { attempt: 4, sealed: Buffer.from('sealed') };

const ambiguous = sampleIntent();
const open = sampleIntent({ answerBy: secondsLater(3) });
const closing = sampleIntent({ answerBy: now });
const older = sampleIntent({ generation: 2, answerBy: secondsLater(3) });
const withLate = sampleIntent({ late });
const openWithLate = sampleIntent({ late, answerBy: secondsLater(3) });

type Others = Parameters<typeof sampleSubject>[1];
type Row = [string, Partial<Connection>, Others, StandingQuestion, ExchangeStanding];

describe('what a refresh may do', () => {
  it('is nothing where there is no such connection', () => {
    expect(exchangeStanding(undefined, newer)).toEqual({ kind: 'gone' });
  });

  it.each<Row>([
    [
      'nothing for a deleted connection',
      { deletedAt: now, tokenVersion: 9 },
      {},
      newer,
      { kind: 'gone' },
    ],
    ['nothing when somebody was faster', { tokenVersion: 8 }, {}, newer, { kind: 'already_fresh' }],
    ['nothing when it is not due', {}, {}, ifDue, { kind: 'already_fresh' }],
    [
      'to send from the due time on',
      { refreshDueAt: now },
      {},
      ifDue,
      { kind: 'may_send', replay: null },
    ],
    [
      'to send when the token has expired',
      { expiresAt: now, refreshDueAt: null },
      {},
      ifDue,
      { kind: 'may_send', replay: null },
    ],
    [
      'to send when there is no token yet',
      { hasAccessToken: false, refreshDueAt: null },
      {},
      ifDue,
      { kind: 'may_send', replay: null },
    ],
    ['to send when asked for a newer one', {}, {}, newer, { kind: 'may_send', replay: null }],
    ['nothing while paused', { pausedAt: now }, {}, newer, { kind: 'paused' }],
    [
      'to send in spite of a verdict, once somebody wants to see',
      { verdict: 'revoked', probeRequestedAt: now },
      {},
      newer,
      { kind: 'may_send', replay: null },
    ],
    [
      'nothing with a verdict and nothing to send',
      { verdict: 'revoked', probeRequestedAt: now, hasRefreshToken: false },
      {},
      newer,
      { kind: 'reauthorization_required' },
    ],
    [
      'nothing while paused, with a verdict too',
      { pausedAt: now, verdict: 'revoked' },
      {},
      newer,
      { kind: 'paused' },
    ],
    [
      'nothing after a verdict',
      { verdict: 'revoked' },
      {},
      newer,
      { kind: 'reauthorization_required' },
    ],
    [
      'nothing when lapsed without a refresh token',
      { hasRefreshToken: false, expiresAt: now },
      {},
      newer,
      { kind: 'reauthorization_required' },
    ],
    [
      'nothing without a refresh token while the token is valid',
      { hasRefreshToken: false },
      {},
      newer,
      { kind: 'already_fresh' },
    ],
    [
      'nothing while the app is paused',
      {},
      { paused: { pausedReason: 'invalid_client', pausedUntil: secondsLater(1) } },
      newer,
      { kind: 'app_paused' },
    ],
    [
      'nothing while the app is paused until somebody resumes it',
      {},
      { paused: { pausedReason: 'invalid_client' } },
      newer,
      { kind: 'app_paused' },
    ],
    [
      'to send when the pause of the app is over',
      {},
      { paused: { pausedReason: 'invalid_client', pausedUntil: now } },
      newer,
      { kind: 'may_send', replay: null },
    ],
    [
      'to wait until the next attempt, force included',
      { nextAttemptAt: secondsLater(2) },
      {},
      newer,
      { kind: 'wait', afterMs: 2_000 },
    ],
    [
      'to send when that has come',
      { nextAttemptAt: now },
      {},
      newer,
      { kind: 'may_send', replay: null },
    ],
    [
      'to wait before it looks at the intent',
      { nextAttemptAt: secondsLater(2) },
      { intent: ambiguous },
      newer,
      { kind: 'wait', afterMs: 2_000 },
    ],
    [
      'to send over an intent of an older generation',
      {},
      { intent: older },
      newer,
      { kind: 'may_send', replay: null },
    ],
    [
      'to wait for a call that is open',
      {},
      { intent: open },
      newer,
      { kind: 'open', afterMs: 3_000 },
    ],
    [
      'to wait for it as a replay too',
      {},
      { intent: open },
      { ...newer, replayOf: 5 },
      { kind: 'open', afterMs: 3_000 },
    ],
    [
      'to wait once more at its very end',
      {},
      { intent: closing },
      newer,
      { kind: 'open', afterMs: 1 },
    ],
    [
      'to resolve an ambiguous attempt',
      {},
      { intent: ambiguous },
      newer,
      { kind: 'ambiguous', intent: ambiguous },
    ],
    [
      'to resolve it when it replays another',
      {},
      { intent: ambiguous },
      { ...newer, replayOf: 4 },
      { kind: 'ambiguous', intent: ambiguous },
    ],
    [
      'to replay the one that it was told to',
      {},
      { intent: ambiguous },
      { ...newer, replayOf: 5 },
      { kind: 'may_send', replay: ambiguous },
    ],
    [
      'to store late tokens before it replays',
      {},
      { intent: withLate },
      { ...newer, replayOf: 5 },
      { kind: 'late_tokens', intent: withLate, late },
    ],
    [
      'to wait while the later attempt may bring its own',
      {},
      { intent: openWithLate },
      newer,
      { kind: 'open', afterMs: 3_000 },
    ],
  ])('%s', (_name, connection, others, question, standing) => {
    expect(exchangeStanding(sampleSubject(connection, others), question)).toEqual(standing);
  });
});
