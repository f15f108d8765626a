import { describe, expect, it } from 'vitest';
import { problemKinds, type ProblemCode } from '../../client/contract.ts';
import { call, createFakeGateway } from './gateway-fakes.ts';

const codes = Object.keys(problemKinds) as ProblemCode[];
const browser = { headers: { Accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } };

async function read(path: string, init: RequestInit = {}) {
  const response = await createFakeGateway().app.request(path, init);
  return { status: response.status, headers: response.headers, text: await response.text() };
}

describe('/docs', () => {
  it.each(['/docs', '/docs/'])('%s is a page that loads only from here', async (path) => {
    const { status, headers, text } = await read(path);
    expect([status, headers.get('Content-Type')]).toEqual([200, 'text/html; charset=utf-8']);
    const policy = headers.get('Content-Security-Policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain('http');
    expect(/script-src[^;]*/.exec(policy)?.[0]).toBe("script-src 'self'");
    const loaded = Array.from(text.matchAll(/(?:src|href)="([^"]+)"/g), ([, url]) => url);
    for (const url of loaded) expect(url).toMatch(/^(?:\/docs\/|\/openapi\.json$|data:,$)/);
    for (const url of loaded.filter((url) => url?.startsWith('/docs/'))) {
      expect((await read(url ?? '')).status).toBe(200);
    }
  });

  it.each([
    ['swagger-ui.css', 'text/css; charset=utf-8'],
    ['swagger-ui-bundle.js', 'text/javascript; charset=utf-8'],
    ['start.js', 'text/javascript; charset=utf-8'],
  ])('serves %s as %s', async (file, contentType) => {
    const { headers, text } = await read(`/docs/${file}`);
    expect(headers.get('Content-Type')).toBe(contentType);
    expect(headers.get('X-Content-Type-Options')).toBe('nosniff');
    expect(text.length).toBeGreaterThan(100);
  });

  it.each(['package.json', '..%2fpackage.json', 'swagger-ui.js', 'constructor', '__proto__'])(
    'serves no other file: %s',
    async (file) => {
      const { json } = await call(createFakeGateway().app, 'GET', `/docs/${file}`);
      expect(json).toMatchObject({ status: 404, code: 'not_found' });
    },
  );
});

describe('/problems/{code}', () => {
  it.each(codes)('explains %s as JSON and as a page', async (code) => {
    const { status, retryable, remedy, summary } = problemKinds[code];
    const { headers, json } = await call(createFakeGateway().app, 'GET', `/problems/${code}`);
    expect(headers.get('Vary')).toBe('Accept');
    expect(json).toEqual({
      type: `/problems/${code}`,
      code,
      status,
      retryable,
      remedy,
      summary,
      meaning: expect.stringMatching(/^.{20,}\.$/) as string,
      what_to_do: expect.stringMatching(/^.{20,}\.$/) as string,
    });
    const page = await read(`/problems/${code}`, browser);
    expect(page.headers.get('Content-Type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('Content-Security-Policy')).toContain("default-src 'none'");
    expect(page.text).toContain(`<title>${code}</title>`);
  });

  it.each(['nothing', 'constructor', 'INTERNAL'])('is a 404 problem for %s', async (code) => {
    const { json } = await call(
      createFakeGateway().app,
      'GET',
      `/problems/${code}`,
      undefined,
      browser,
    );
    expect(json).toMatchObject({ status: 404, code: 'not_found' });
  });
});
