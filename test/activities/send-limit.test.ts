import { describe, expect, it } from 'vitest';
import { sendDelay } from '../../activities/send-limit.ts';
import { sampleSubject, secondsLater } from '../connections/sample-connection.ts';
import { defineProvider } from '../oauth/definitions.ts';

const zoho = defineProvider({ limits: { per_window: { count: 3, seconds: 600 } } });
const demanded = { trigger: 'read', isReplay: false } as const;
const forced = { trigger: 'force', isReplay: false } as const;
const sixForced = Array.from({ length: 6 }, (_, at) => secondsLater(-40 - at));

describe('a connection sends', () => {
  it('when nothing was sent before', () => {
    expect(sendDelay(sampleSubject({}), zoho, demanded)).toBeNull();
  });

  it('a second after the last send at the earliest', () => {
    const subject = { ...sampleSubject({}), lastSentAt: secondsLater(-0.4) };
    expect(sendDelay(subject, defineProvider({}), demanded)).toEqual({
      kind: 'interval',
      afterMs: 600,
    });
  });

  it('as often in a window as its provider allows for one refresh token', () => {
    const recentSends = [secondsLater(-10), secondsLater(-300), secondsLater(-590)];
    const subject = { ...sampleSubject({}), recentSends };
    expect(sendDelay(subject, zoho, demanded)).toEqual({ kind: 'window', afterMs: 10_000 });
    const earlier = { ...subject, recentSends: [...recentSends.slice(0, 2), secondsLater(-601)] };
    expect(sendDelay(earlier, zoho, demanded)).toBeNull();
  });

  it('for callers who insist on another token six times a minute', () => {
    const subject = sampleSubject({ forcedSends: sixForced });
    const delay = { kind: 'forced', afterMs: 15_000 };
    expect(sendDelay(subject, defineProvider({}), forced)).toEqual(delay);
    expect(sendDelay(subject, defineProvider({}), { ...forced, trigger: 'rejected' })).toEqual(
      delay,
    );
    expect(sendDelay(subject, defineProvider({}), { ...forced, trigger: 'workflow' })).toEqual(
      delay,
    );
  });

  it.each([
    ['a token that has expired', { expiresAt: secondsLater(-1) }, forced],
    ['a token that is due', { refreshDueAt: secondsLater(-1) }, forced],
    ['a replay', {}, { ...forced, isReplay: true }],
    ['a reader', {}, demanded],
  ] as const)('as often as need be for %s', (_name, members, question) => {
    const subject = sampleSubject({ forcedSends: sixForced, ...members });
    expect(sendDelay(subject, defineProvider({}), question)).toBeNull();
  });
});
