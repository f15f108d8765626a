import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { Connection } from '../../connections/connection.ts';
import { TokenText } from '../../gateway/token-text.ts';
import { Secret } from '../../platform/secret.ts';
import { connectionRow, secondsFromStart, startsAt } from './gateway-fakes.ts';

function textOf(members: Partial<Connection> = {}, token = 'planted'): TokenText {
  const connection = connectionRow(members);
  return new TokenText({ connection, accessToken: new Secret(token), now: startsAt });
}

describe('the text of an answer', () => {
  it('is the same for all who read it but for the seconds that are left', () => {
    const text = textOf({ expiresAt: secondsFromStart(100) });
    const [first, second] = [startsAt, secondsFromStart(1.5)].map(
      (now) => JSON.parse(text.at(now, false)) as Record<string, unknown>,
    );
    expect(first).toMatchObject({ access_token: 'planted', expires_in: 100, refreshed: false });
    expect(second).toEqual({ ...first, expires_in: 98 });
    expect(JSON.parse(text.at(secondsFromStart(500), false))).toMatchObject({ expires_in: 0 });
  });

  it('says null where the token does not expire', () => {
    const body = JSON.parse(textOf({ expiresAt: null }).at(startsAt, false)) as object;
    expect(body).toMatchObject({ expires_at: null, expires_in: null });
  });

  it.each([
    ['plain text', {}],
    ['a scope that looks like its own member', { scope: '","refreshed":false,"x":"' }],
    ['metadata that do', { metadata: { refreshed: false, expires_in: 0 } }],
  ])('says whether the call has refreshed it, with %s', (_what, members) => {
    const text = textOf(members);
    const [kept, refreshed] = [false, true].map(
      (is) => JSON.parse(text.at(startsAt, is)) as Record<string, unknown>,
    );
    expect(kept).toMatchObject({ refreshed: false, ...members });
    expect(refreshed).toEqual({ ...kept, refreshed: true });
  });

  it.each([
    ['ASCII', 'token', {}],
    ['Latin', 'tök', { metadata: { name: 'Zoë' } }],
    ['more than Latin', '🔑', { scope: 'łódź', metadata: { name: '東京' } }],
  ])('knows its length in bytes: %s', (_what, token, members) => {
    const text = textOf(members, token);
    for (const now of [startsAt, secondsFromStart(1_000)]) {
      for (const refreshed of [false, true]) {
        const body = text.at(now, refreshed);
        expect(text.bytesOf(body)).toBe(Buffer.byteLength(body));
      }
    }
  });

  it.each(['planted', 'a"b\\c\n', '🔑'])('gives back its token: %j', (token) => {
    expect(textOf({}, token).accessToken().reveal()).toBe(token);
  });

  it('prints as a secret does', () => {
    const text = textOf();
    expect(text.at(startsAt, false)).toContain('planted');
    expect(inspect({ text }, { depth: 9, showHidden: true })).not.toContain('planted');
    expect(JSON.stringify({ text })).not.toContain('planted');
  });
});
