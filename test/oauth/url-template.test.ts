import { describe, expect, it } from 'vitest';
import { isHostAllowed, renderText, renderUrl, templateOrigin } from '../../oauth/url-template.ts';

describe('renderUrl', () => {
  it.each<[string, Record<string, string>, string | null]>([
    ['https://a.com/token', {}, 'https://a.com/token'],
    ['https://${t}.a.com/token', { t: 'acme-1' }, 'https://acme-1.a.com/token'],
    ['https://${t}/token', { t: 'x.a.com' }, 'https://x.a.com/token'],
    [
      'https://a.com/${t}?d=${t}',
      { t: 'a/..?#&' },
      'https://a.com/a%2F..%3F%23%26?d=a%2F..%3F%23%26',
    ],
    ['https://${t}.a.com/', {}, null],
    ['https://${t}.a.com/', { t: 'evil.com/' }, null],
    ['https://${t}.a.com/', { t: 'evil.com#' }, null],
    ['https://${t}.a.com/', { t: 'evil.com:80' }, null],
    ['https://${t}.a.com/', { t: 'user@evil.com' }, null],
    ['https://${t}.a.com/', { t: '${u}', u: 'x' }, null],
    ['https://${constructor}.a.com/', {}, null],
  ])('%s with %j is %s', (template, variables, expected) => {
    expect(renderUrl(template, variables)?.href ?? null).toBe(expected);
  });
});

describe('renderText', () => {
  it('fills every value in once', () => {
    expect(renderText('${a}-${b}-${a}', { a: '${b}', b: 'x' })).toBe('${b}-x-${b}');
    expect(renderText('${missing}', {})).toBeNull();
  });
});

describe('hosts', () => {
  it.each<[string, string, boolean]>([
    ['a.com', 'a.com', true],
    ['A.com.', 'a.com', true],
    ['x.a.com', 'a.com', false],
    ['x.a.com', '*.a.com', true],
    ['y.x.a.com', '*.a.com', true],
    ['a.com', '*.a.com', false],
    ['evila.com', '*.a.com', false],
    ['127.0.0.1', '*.0.0.1', false],
  ])('%s matches %s: %s', (hostname, pattern, isAllowed) => {
    expect(isHostAllowed(hostname, [pattern])).toBe(isAllowed);
  });

  it('an origin keeps its placeholders', () => {
    expect(templateOrigin('https://${t}.a.com:8443/x?y')).toBe('https://${t}.a.com:8443');
  });
});
