import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import { createAdmission } from '../../gateway/admission.ts';
import { createComposer } from './compose-for-test.ts';
import {
  call,
  connectionRow,
  createFakeEngine,
  createFakeGateway,
  expired,
  settle,
} from './gateway-fakes.ts';

const compose = createComposer();
const quick = { headersMs: 300, requestMs: 600, checkEveryMs: 50 };
const fresh = connectionRow();
const notices = {
  subscribe: () => () => undefined,
  session: () => 1,
};

function open(url: string): Promise<{ socket: Socket; ended: Promise<string> }> {
  const { port, hostname } = new URL(url);
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = connect(Number(port), hostname, () => {
      resolve({ socket, ended: new Promise((end) => socket.on('close', () => end(received))) });
    });
    socket.on('data', (chunk) => (received += chunk.toString()));
    socket.on('error', reject);
  });
}

async function send(url: string, bytes: string): Promise<string> {
  const { socket, ended } = await open(url);
  if (bytes !== '') socket.write(bytes);
  return ended;
}

const head = 'POST /v1/connections/c1/token/refresh HTTP/1.1\r\nHost: x\r\n';

describe('what Node answers before the app runs', () => {
  it.each([
    ['no byte at all', '', 408, 'request_timeout'],
    ['headers that never end', 'GET /ping HTTP/1.1\r\nHost: x\r\n', 408, 'request_timeout'],
    ['a body that never ends', `${head}Content-Length: 9\r\n\r\n{`, 408, 'request_timeout'],
    ['a request line that is none', 'GET\r\n\r\n', 400, 'input_validation'],
    ['no Host', 'GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n', 400, 'input_validation'],
    [
      'headers beyond FIBER_READ_BUFFER_SIZE',
      `GET /ping HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(4_200)}\r\n\r\n`,
      431,
      'headers_too_large',
    ],
    ['CONNECT', 'CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n', 405, 'method_not_allowed'],
  ])('%s gets a problem, and its connection ends', async (_what, bytes, status, code) => {
    const { gateway, metrics } = await compose({ httpLimits: quick });
    const received = await send(gateway.url, bytes);
    const [headers = '', body = ''] = received.split('\r\n\r\n');
    expect(headers).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(headers.toLowerCase()).toContain('content-type: application/problem+json');
    expect(headers.toLowerCase()).toContain('cache-control: no-store');
    expect(headers.toLowerCase()).toContain('connection: close');
    const problem = JSON.parse(body.replace(/^[0-9a-f]+\r\n/, '')) as Record<string, unknown>;
    expect(problem).toMatchObject({ code, status, type: `/problems/${code}` });
    expect(headers).toMatch(new RegExp(`x-request-id: ${String(problem['request_id'])}`, 'i'));
    if (code === 'method_not_allowed') expect(headers).toContain('Allow: ');
    expect((await metrics.page()).body).toContain(`problem="${code}"`);
  });

  it('an expectation that is not known is ignored, and a body too large is not asked for', async () => {
    const { gateway } = await compose();
    const close = 'Connection: close\r\n';
    const ping = await send(
      gateway.url,
      `GET /ping HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n${close}\r\n`,
    );
    expect(ping).toMatch(/^HTTP\/1.1 200 /);
    const expecting = (lengthBytes: number) =>
      `${head}Expect: 100-continue\r\nContent-Length: ${lengthBytes}\r\n${close}\r\n`;
    expect(await send(gateway.url, expecting(9_999_999))).toMatch(/^HTTP\/1.1 413 /);
  });
});

describe('under overload', () => {
  it('a connection beyond the limit gets what memory answers, else 503, and ends', async () => {
    const { gateway } = await compose({
      httpLimits: { connections: 2 },
      tokenCache: { seconds: 300, notices },
    });
    const read = (agent: Agent, path: string) =>
      new Promise<{ status: number; connection: string | undefined; text: string }>(
        (resolve, reject) => {
          request(`${gateway.url}${path}`, { agent }, (response) => {
            let text = '';
            response.on('data', (chunk: Buffer) => (text += chunk.toString()));
            response.on('end', () =>
              resolve({
                status: response.statusCode ?? 0,
                connection: response.headers.connection,
                text,
              }),
            );
          })
            .on('error', reject)
            .end();
        },
      );
    const kept = new Agent({ keepAlive: true, maxSockets: 1 });
    const token = '/v1/connections/c1/token';
    expect(await read(kept, token)).toMatchObject({ status: 200, connection: 'keep-alive' });
    const { socket } = await open(gateway.url);
    const beyond = new Agent();
    expect(await read(beyond, token)).toMatchObject({ status: 200, connection: 'close' });
    expect(await read(beyond, '/ping')).toMatchObject({ status: 200, connection: 'close' });
    for (const path of ['/v1/connections/c1', '/v1/connections/other/token']) {
      const refused = await read(beyond, path);
      expect(refused).toMatchObject({ status: 503, connection: 'close' });
      expect(refused.text).toContain('"code":"overloaded"');
    }
    expect((await read(kept, '/v1/connections/c1')).status).toBe(200);
    socket.destroy();
    kept.destroy();
  });

  it('requests that need the store are refused early beyond a limit; memory and probes go on', async () => {
    const admission = createAdmission({ workingMax: 1 });
    const { app, state, rows } = createFakeGateway({
      admission,
      tokenCache: { seconds: 300, notices },
    });
    rows.set('c2', connectionRow({ id: 'c2' }));
    expect((await call(app, 'GET', '/v1/connections/c1/token')).status).toBe(200);
    let answer: () => void = () => undefined;
    state.readsWait = new Promise((resolve) => (answer = resolve));
    const working = call(app, 'GET', '/v1/connections/c2/token');
    await settle();
    for (const path of ['/v1/connections/c3/token', '/v1/apps', '/v1/connections/c1']) {
      const { status, headers, json } = await call(app, 'GET', path);
      expect([status, json['code'], headers.get('Retry-After')]).toEqual([503, 'overloaded', '1']);
    }
    for (const path of ['/v1/connections/c1/token', '/ping', '/ready', '/build']) {
      expect((await call(app, 'GET', path)).status).toBe(200);
    }
    answer();
    expect((await working).status).toBe(200);
    expect((await call(app, 'GET', '/v1/connections/c1')).status).toBe(200);
  });

  it('callers who wait hold no place of those who work, and have a limit of their own', async () => {
    const admission = createAdmission({ workingMax: 2, waitingMax: 1 });
    const engine = createFakeEngine();
    const { app, rows } = createFakeGateway({
      admission,
      refreshEngine: engine,
      row: connectionRow(expired),
    });
    rows.set('c2', fresh);
    const waiting = call(app, 'GET', '/v1/connections/c1/token');
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    expect((await call(app, 'GET', '/v1/connections/c2/token')).status).toBe(200);
    const refused = await call(app, 'GET', '/v1/connections/c1/token');
    expect([refused.status, refused.json['code']]).toEqual([503, 'overloaded']);

    admission.endWaiting();
    const ended = await waiting;
    expect([ended.status, ended.json['code'], ended.headers.get('Retry-After')]).toEqual([
      503,
      'refresh_in_progress',
      '1',
    ]);
    const late = await call(app, 'GET', '/v1/connections/c1/token');
    expect([late.status, late.json['code']]).toEqual([503, 'refresh_in_progress']);
  });
});

describe('draining', () => {
  it('a kept-alive connection gets its next answer with Connection: close', async () => {
    const { gateway } = await compose();
    const { socket, ended } = await open(gateway.url);
    const ask = () => socket.write('GET /ready HTTP/1.1\r\nHost: x\r\n\r\n');
    ask();
    await vi.waitFor(() => expect(socket.bytesRead).toBeGreaterThan(0));
    const closing = gateway.close();
    ask();
    const received = await ended;
    expect(received.match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 503']);
    expect(received).toMatch(/503[^]*connection: close/i);
    await closing;
  });
});
