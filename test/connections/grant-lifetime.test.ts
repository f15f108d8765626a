import { expect, it } from 'vitest';
import { grantEnd, withKeepAlive } from '../../connections/grant-lifetime.ts';

const now = new Date('2026-11-23T12:00:00.000Z');
const later = (seconds: number) => new Date(now.getTime() + 1_000 * seconds);
const daySeconds = 86_400;

it.each<[string, Date | null, number | null, number, Date | null]>([
  ['the access token, without a rule', later(60), null, 0, later(60)],
  ['nothing, without either', null, null, 0, null],
  ['the access token, if it is earlier', later(60), daySeconds, 0, later(60)],
  ['the refresh token, if that is', later(2 * daySeconds), daySeconds, 0, later(daySeconds)],
  ['the refresh token of a token for ever', null, daySeconds, 0, later(daySeconds)],
  ['a little before that, by chance', null, daySeconds, 1, later(0.99 * daySeconds)],
])('what is due is %s', (_what, dueAt, keepAliveSeconds, fraction, expected) => {
  expect(withKeepAlive(dueAt, { usedAt: now, keepAliveSeconds, fraction })).toEqual(expected);
});

it('a customer hears of the end a week before it, or when a fifth is left', () => {
  expect(grantEnd(null, now)).toBeNull();
  expect(grantEnd(365 * daySeconds, now)).toEqual({
    endsAt: later(365 * daySeconds),
    noticeAt: later(358 * daySeconds),
  });
  expect(grantEnd(100, now)).toEqual({ endsAt: later(100), noticeAt: later(80) });
});
