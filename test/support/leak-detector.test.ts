import { describe, expect, it } from 'vitest';
import { findCanaries } from './leak-detector.ts';

const canary = 'canary/rt+1=~"é"0123456789';
const canaries = new Map([['the token', canary]]);
const bytes = Buffer.from(canary);

describe('the leak detector', () => {
  it.each([
    ['plain', `before ${canary} after`],
    ['JSON', JSON.stringify({ message: `x${canary}` })],
    ['URL-encoded', `https://host/?a=${encodeURIComponent(canary)}&b=1`],
    ['URL-encoded', new URLSearchParams({ refresh_token: canary }).toString()],
    ['hex', `\\x00${bytes.toString('hex')}ff`],
    ['hex', bytes.toString('hex').toUpperCase()],
    ['base64', Buffer.from(`user:${canary}`).toString('base64')],
    ['base64', Buffer.from(`u:${canary}!!`).toString('base64')],
    ['base64', Buffer.from(`${canary}!`).toString('base64')],
    ['base64', Buffer.from(`x:${canary}`).toString('base64url')],
  ])('finds a secret written as %s', (encoding, text) => {
    expect(findCanaries(text, canaries)).toContain(`the token as ${encoding}`);
  });

  it('finds nothing where there is nothing', () => {
    expect(findCanaries('canary/rt', canaries)).toEqual([]);
  });
});
