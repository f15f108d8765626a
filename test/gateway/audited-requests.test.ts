import { describe, expect, it } from 'vitest';
import { createCertificateCallers } from '../../gateway/callers.ts';
import { loggableText } from '../../gateway/loggable-text.ts';
import { createLogger } from '../../platform/log.ts';
import { auditLines, createGatewayFor, identity, policyOf, withKey } from './caller-fixtures.ts';
import { call, createFakeGateway, refreshRow } from './gateway-fakes.ts';

const path = '/v1/connections/c1';
const all = [
  'tokens:read',
  'tokens:refresh',
  'connections:read',
  'connections:write',
  'apps:write',
];
const granted = all as Parameters<typeof createGatewayFor>[0]['scopes'];
const json = { 'Content-Type': 'application/json' };

async function auditOf(
  method: string,
  url: string,
  body?: object,
  options: { scopes?: typeof granted; headers?: Record<string, string> } = {},
) {
  const { scopes = granted, headers = withKey.headers } = options;
  const { app, engine, rows, lines } = createGatewayFor({ scopes });
  engine.respond = () => Promise.resolve(refreshRow(rows));
  const type = body === undefined ? {} : json;
  const init = { headers: { ...type, ...headers, 'X-Request-Id': 'r1' } };
  await call(app, method, url, body, init);
  return { audit: auditLines(lines), text: lines.join('') };
}

const connection = { tenant_id: 't1', app_id: 'a1', refresh_token: 'secret-rt' };

describe('the audit has one line for', () => {
  it.each([
    ['a token read', 'GET', `${path}/token`, undefined, 'done'],
    ['a token refreshed', 'POST', `${path}/token/refresh`, { force: true }, 'done'],
    ['an import', 'PUT', path, connection, 'done'],
    ['an import that was refused', 'PUT', path, {}, 'input_validation'],
    [
      'a connection that is not there',
      'GET',
      '/v1/connections/c9',
      undefined,
      'connection_not_found',
    ],
  ])('%s', async (_what, method, url, body, outcome) => {
    const { audit, text } = await auditOf(method, url, body);
    expect(audit).toHaveLength(1);
    expect(audit[0]).toMatchObject({
      level: 'info',
      msg: 'request',
      caller: 'billing',
      action: `${method} ${url.replace(/c\d/, '{id}')}`,
      outcome,
      request_id: 'r1',
      ...(outcome !== 'input_validation' && { connection_id: url.split('/')[3] }),
    });
    expect(text).not.toMatch(/access-c1|secret-rt|Bearer/);
  });

  it.each([
    ['PUT', '/v1/apps/a1', { provider: 'demo', client_id: 'c', client_secrets: ['secret-cs'] }],
    ['POST', '/v1/apps/a1/resume', undefined],
    ['DELETE', '/v1/apps/a1', undefined],
  ])('%s %s', async (method, url, body) => {
    const { audit, text } = await auditOf(method, url, body);
    expect(audit).toHaveLength(1);
    expect(audit[0]).toMatchObject({ caller: 'billing', app_id: 'a1', outcome: 'done' });
    expect(text).not.toContain('secret-cs');
  });

  it('a caller that may not', async () => {
    const { audit } = await auditOf('GET', path, undefined, { scopes: ['tokens:read'] });
    expect(audit).toMatchObject([{ caller: 'billing', outcome: 'forbidden' }]);
  });

  it('a key that nobody has, without the key', async () => {
    const headers = { Authorization: 'Bearer tm_somebodys-key' };
    const { audit, text } = await auditOf('GET', path, undefined, { headers });
    expect(audit).toMatchObject([
      { action: 'GET /v1/connections/{id}', outcome: 'unauthenticated' },
    ]);
    expect(audit[0]).not.toHaveProperty('caller');
    expect(text).not.toContain('somebodys-key');
  });

  it('a certificate that nobody is, bounded and escaped, and whence it came', async () => {
    const callers = createCertificateCallers(() => policyOf());
    const { app, lines } = createFakeGateway({ callers });
    const subjects = [
      `cn:${'x'.repeat(5_000)}`,
      'cn:\u001b[2Ja\u2028b',
      ...Array.from({ length: 50 }, () => 'dns:x'),
    ];
    await app.request(
      path,
      {},
      { clientIdentity: identity(...subjects), clientAddress: '10.0.0.9' },
    );
    const [line] = auditLines(lines);
    expect(line).toMatchObject({ outcome: 'unauthenticated', client_address: '10.0.0.9' });
    const shown = line?.['subjects'] as string[];
    expect(shown).toHaveLength(5);
    expect(shown[0]?.length).toBeLessThan(250);
    expect(shown[1]).toBe('cn:\\u{1b}[2Ja\\u{2028}b');
    expect(lines.join('').length).toBeLessThan(2_000);
  });
});

describe('the audit is silent about', () => {
  it.each([
    ['GET', '/ping'],
    ['GET', path],
    ['GET', '/v1/connections'],
    ['HEAD', `${path}/token`],
    ['GET', '/v1/nothing'],
  ])('%s %s', async (method, url) => {
    expect((await auditOf(method, url)).audit).toEqual([]);
  });
});

describe('nothing silences the audit', () => {
  const audited = { audit: true, caller: 'anonymous', outcome: 'done', connection_id: 'c1' };

  it('not LOG_LEVEL', async () => {
    const lines: string[] = [];
    const log = createLogger({
      subsystem: 'test',
      level: 'error',
      pretty: false,
      destination: { write: (line) => void lines.push(line) },
    });
    const { app } = createFakeGateway({ log });
    await call(app, 'GET', `${path}/token`);
    await call(app, 'GET', path);
    expect(lines).toHaveLength(1);
    expect(auditLines(lines)).toMatchObject([{ ...audited, msg: 'request', status: 200 }]);
  });

  it('not LOG_HTTP_REQUESTS, but the rest of the line', async () => {
    const { app, lines } = createFakeGateway({ logHttpRequests: false });
    await call(app, 'GET', `${path}/token`);
    await call(app, 'GET', path);
    expect(lines).toHaveLength(1);
    const [line] = auditLines(lines);
    expect(line).toMatchObject({
      ...audited,
      msg: 'audit',
      action: `GET ${path.replace('c1', '{id}')}/token`,
    });
    for (const name of ['method', 'route', 'status', 'duration_ms', 'trace_id']) {
      expect(line).not.toHaveProperty(name);
    }
  });
});

it.each([
  ['plain text', 'plain text'],
  ['a\nb\u0000\u007f\u009b', 'a\\u{a}b\\u{0}\\u{7f}\\u{9b}'],
  ['\ud83d', '\\u{d83d}'],
  ['x'.repeat(21), `${'x'.repeat(20)}…`],
])('%j is logged as %j', (text, logged) => {
  expect(loggableText(text, 20)).toBe(logged);
});
