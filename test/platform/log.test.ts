import { inspect, stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { createLogger, type Logger } from '../../platform/log.ts';
import { Secret } from '../../platform/secret.ts';

function createListened(options: { pretty?: boolean } = {}): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const log = createLogger({
    subsystem: 'token-manager',
    level: 'info',
    pretty: options.pretty ?? false,
    destination: { write: (line: string) => lines.push(line) },
  });
  return { log, lines };
}

function logged(fields: object, message = 'said'): Record<string, unknown> {
  const { log, lines } = createListened();
  log.info(fields, message);
  return JSON.parse(lines.join('')) as Record<string, unknown>;
}

describe('the log', () => {
  it('writes one JSON line an event', () => {
    const { log, lines } = createListened();
    log.child({ request_id: 'r1' }).warn({ status: 503 }, 'answered');
    log.debug('is below the level');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toEqual({
      level: 'warn',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
      pid: process.pid,
      subsystem: 'token-manager',
      request_id: 'r1',
      status: 503,
      msg: 'answered',
    });
  });

  it('says of an error what it is and what caused it, and nothing a library hung on it', () => {
    const cause = Object.assign(new Error('connect'), { code: 'ECONNREFUSED', row: 'planted' });
    const err = Object.assign(new TypeError('failed', { cause }), { response: 'planted' });
    const described = logged({ err })['err'] as Record<string, unknown>;
    expect(described).toMatchObject({
      type: 'TypeError',
      message: 'failed',
      cause: { message: 'connect', code: 'ECONNREFUSED' },
    });
    expect(JSON.stringify(described)).not.toContain('planted');
  });

  it('ends where causes go round in a ring', () => {
    const err = new Error('ring');
    err.cause = err;
    expect(logged({ err })).toHaveProperty('err.cause.cause.message', 'ring');
  });

  it.each<[string, object, string?]>([
    ['a Secret', { token: new Secret('planted-1') }],
    ['a member by name', { access_token: 'planted-1' }],
    ['a nested member in camel case', { body: { deep: { refreshToken: 'plan"ted-1' } } }],
    ['a list of secrets', { client_secrets: ['planted-1', 'planted-2'] }],
    ['a header', { headers: { Authorization: 'Bearer planted-1' } }],
    ['a quoted body', { text: '{"refresh_token": "planted-1", "scope": "a"}' }],
    ['a form', { text: 'grant_type=x&refresh_token=planted-1&client_secret=planted-2' }],
    ['a bearer in a text', {}, 'sent Authorization: Bearer planted-1'],
    ['a connection string', { err: new Error('at postgres://app:planted-1@db/tokens') }],
    ['a query in an address', {}, 'GET https://x.example/cb?access_token=planted-1&state=2'],
  ])('takes out %s', (_, fields, message) => {
    const line = logged(fields, message);
    expect(inspect(line, { depth: 10 })).toContain('[redacted]');
    expect(inspect(line, { depth: 10 })).not.toMatch(/planted|ted-1/);
  });

  it('leaves other text as it is', () => {
    const fields = { token_version: 8, outcome: 'refreshed', url: 'http://127.0.0.1:8080/ping' };
    expect(logged(fields)).toMatchObject(fields);
  });

  it('is one readable line an event for people where that is asked for, redacted all the same', () => {
    const { log, lines } = createListened({ pretty: true });
    log.info({ access_token: 'planted', port: 8082, deep: { member: 1 } }, 'started');
    const text = stripVTControlCharacters(lines.join(''));
    expect(text).toMatch(/INFO.*started.*8082.*"member":1.*\n$/);
    expect(text.trimEnd()).not.toContain('\n');
    expect(text).not.toContain('planted');
  });
});

describe('prepared lines', () => {
  it('are as those of info, with what is given at the time', () => {
    const { log, lines } = createListened();
    const child = log.child({ audit: true });
    const write = child.prepare({ action: 'GET /x' }, 'audit', ['caller', 'status', 'none', 'id']);
    for (const caller of ['a "b"', 'plain']) {
      lines.length = 0;
      write(caller, 200.5, undefined, 'c:1');
      child.info({ action: 'GET /x', caller, status: 200.5, id: 'c:1' }, 'audit');
      const [prepared, usual] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      expect({ ...prepared, time: '' }).toEqual({ ...usual, time: '' });
      expect(prepared?.['time']).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    }
    expect(lines.every((line) => line.endsWith('}\n'))).toBe(true);
  });

  it('have secrets taken out of what was prepared and of what is given', () => {
    const { log, lines } = createListened();
    const write = log.prepare({ access_token: 'planted-1' }, 'audit', ['text']);
    write('Bearer planted-2planted');
    expect(lines.join('')).not.toContain('planted');
    expect(lines.join('').match(/\[redacted\]/g)).toHaveLength(2);
  });

  it('are silent below the level', () => {
    const lines: string[] = [];
    const destination = { write: (line: string) => lines.push(line) };
    const log = createLogger({ subsystem: 'test', level: 'warn', pretty: false, destination });
    log.prepare({}, 'request', ['request_id'])('r');
    log.child({ audit: true }, { level: 'info' }).prepare({}, 'audit', ['request_id'])('r');
    expect(lines).toHaveLength(1);
  });
});
