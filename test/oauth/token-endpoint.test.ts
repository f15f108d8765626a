import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { gzipSync, deflateSync, deflateRawSync, brotliCompressSync } from 'node:zlib';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Secret } from '../../platform/secret.ts';
import { issueCertificates } from '../support/certificates.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { connectTo, defineProvider, exchange, loopbackEgress } from './definitions.ts';

let endpoint: ScriptedTokenEndpoint;

beforeEach(async () => {
  endpoint = await startScriptedTokenEndpoint();
});
afterEach(async () => {
  await endpoint.close();
});

const define = (members: Record<string, unknown> = {}) =>
  defineProvider({ token_url: endpoint.url, ...members });

describe('an answer', () => {
  it('comes whole, with its status and the headers that judging needs', async () => {
    endpoint.script({
      status: 201,
      headers: { 'retry-after': '7', 'set-cookie': 'a=b', 'x-other': 'c' },
      body: { access_token: 'at-1' },
    });
    const answer = await exchange({ definition: define() });
    expect(answer).toMatchObject({ kind: 'answer', status: 201 });
    if (answer.kind !== 'answer') return;
    expect(answer.headers).toMatchObject({
      'retry-after': '7',
      'content-type': 'application/json',
    });
    expect(Object.keys(answer.headers)).not.toContain('set-cookie');
    expect(answer.body.reveal()).toBe('{"access_token":"at-1"}');
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['br', brotliCompressSync],
    ['identity', (text: string) => Buffer.from(text)],
  ])('is decompressed from %s', async (encoding, compress) => {
    endpoint.script({ headers: { 'content-encoding': encoding }, body: compress('{"a":1}') });
    const answer = await exchange({ definition: define() });
    expect(answer.kind === 'answer' ? answer.body.reveal() : answer).toBe('{"a":1}');
  });

  it('in a compression nobody asked for is no answer', async () => {
    endpoint.script({ headers: { 'content-encoding': 'zstd' }, body: 'x' });
    expect(await exchange({ definition: define() })).toEqual({
      kind: 'no_answer',
      code: 'answer_encoding_unknown',
    });
  });

  it('that names gzip and is none is no answer', async () => {
    endpoint.script({ headers: { 'content-encoding': 'gzip' }, body: 'not gzip' });
    expect(await exchange({ definition: define() })).toEqual({
      kind: 'no_answer',
      code: 'answer_undecodable',
    });
  });

  it('R48 that redirects with 307 is not followed: the second host sees 0 bytes', async () => {
    const second = await startScriptedTokenEndpoint();
    endpoint.script({ status: 307, headers: { location: second.url }, body: '' });
    const answer = await exchange({ definition: define() });
    expect(answer).toMatchObject({ kind: 'answer', status: 307 });
    expect(second.truth()).toMatchObject({ connections: 0, bytesReceived: 0 });
    await second.close();
  });
});

describe('after the first byte, whatever ends without a complete answer is no answer', () => {
  it.each([
    ['closed before the token is spent', { drop: { how: 'close', when: 'before' } }],
    ['closed after the token is spent', { drop: { how: 'close', when: 'after' } }],
    ['reset after the token is spent', { drop: { how: 'reset', when: 'after' } }],
  ] as const)('%s', async (_name, step) => {
    endpoint.script(step);
    const { refreshToken } = endpoint.grant();
    const answer = await exchange({ definition: define(), credential: new Secret(refreshToken) });
    expect(answer.kind).toBe('no_answer');
    expect(endpoint.truth().exchanges).toBe(step.drop.when === 'after' ? 1 : 0);
    expect(endpoint.sendsOf(refreshToken)).toBe(1);
  });

  it('truncated', async () => {
    endpoint.script({ body: { access_token: 'at-1', refresh_token: 'rt-2' }, truncateAtBytes: 20 });
    expect(await exchange({ definition: define() })).toEqual({
      kind: 'no_answer',
      code: 'answer_truncated',
    });
  });

  it('R50 too late, although bytes keep coming', async () => {
    endpoint.script({ body: 'x'.repeat(1_000), trickleBytes: 1 });
    const startedAt = performance.now();
    const answer = await exchange({ definition: define(), deadlineMs: 300 });
    expect(answer).toEqual({ kind: 'no_answer', code: 'answer_timeout' });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  it('R50 too large, and as a gzip bomb', async () => {
    endpoint.script(
      { body: 'x'.repeat(1_024 * 1_024 + 1) },
      { gzipBombBytes: 200 * 1_024 * 1_024 },
    );
    const tooLarge = { kind: 'no_answer', code: 'answer_too_large' };
    expect(await exchange({ definition: define() })).toEqual(tooLarge);
    expect(await exchange({ definition: define(), deadlineMs: 20_000 })).toEqual(tooLarge);
  });

  it('with headers beyond 32 KiB', async () => {
    endpoint.script({ headers: { 'x-long': 'x'.repeat(40_000) }, body: '{}' });
    expect(await exchange({ definition: define() })).toEqual({
      kind: 'no_answer',
      code: 'UND_ERR_HEADERS_OVERFLOW',
    });
  });

  it('with something that is not HTTP', async () => {
    const server = await listen((socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'));
    const answer = await exchange({ definition: defineProvider({ token_url: urlOf(server) }) });
    // What came before the request may already have ended the connection.
    expect(['no_answer', 'not_sent']).toContain(answer.kind);
    server.close();
  });
});

describe('nothing is sent', () => {
  it('R29 when the connection is refused', async () => {
    const { url } = endpoint;
    await endpoint.close();
    const answer = await exchange({ definition: defineProvider({ token_url: url }) });
    expect(answer).toEqual({ kind: 'not_sent', class: 'transient', code: 'ECONNREFUSED' });
    endpoint = await startScriptedTokenEndpoint();
  });

  it('R29 when the name does not resolve', async () => {
    const lookup = () => Promise.reject(Object.assign(new Error('no'), { code: 'ENOTFOUND' }));
    const answer = await exchange({
      definition: defineProvider(),
      egress: loopbackEgress({ lookup }),
    });
    expect(answer).toEqual({ kind: 'not_sent', class: 'transient', code: 'ENOTFOUND' });
  });

  it('when the send limit has passed: the endpoint sees 0 bytes', async () => {
    const answer = await exchange({ definition: define(), mayStillSend: () => false });
    expect(answer).toEqual({ kind: 'not_sent', class: 'transient', code: 'send_limit' });
    expect(endpoint.truth()).toMatchObject({ connections: 1, bytesReceived: 0 });
  });

  it('when the endpoint has closed the connection between connect and send', async () => {
    const server = await listen((socket) => socket.end());
    const connection = await connectTo({
      definition: defineProvider({ token_url: urlOf(server) }),
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    if ('kind' in connection) throw new Error('is not connected');
    const asked = { count: 0 };
    const mayStillSend = () => (asked.count += 1) > 0;
    expect(await connection.send({ mayStillSend, deadlineMs: 1_000 })).toEqual({
      kind: 'not_sent',
      class: 'transient',
      code: 'connection_closed',
    });
    expect(asked.count).toBe(0);
    server.close();
  });

  it('after close, or a second time', async () => {
    const closed = await connectTo({ definition: define() });
    const used = await connectTo({ definition: define() });
    if ('kind' in closed || 'kind' in used) throw new Error('is not connected');
    const limits = { mayStillSend: () => true, deadlineMs: 1_000 };
    closed.close();
    await used.send(limits);
    const notSent = { kind: 'not_sent', class: 'transient', code: 'connection_closed' };
    expect(await closed.send(limits)).toEqual(notSent);
    expect(await used.send(limits)).toEqual(notSent);
    expect(endpoint.requests).toHaveLength(1);
  });

  it('before send: an open connection that is not used costs no bytes', async () => {
    const connection = await connectTo({ definition: define() });
    if ('kind' in connection) throw new Error('is not connected');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(endpoint.truth()).toMatchObject({ connections: 1, bytesReceived: 0 });
    connection.close();
  });

  it('when the endpoint accepts and then says nothing of TLS, within the connect deadline', async () => {
    const server = await listen(() => undefined);
    const startedAt = performance.now();
    const url = urlOf(server).replace('http:', 'https:');
    const answer = await exchange({ definition: defineProvider({ token_url: url }) });
    expect(answer).toEqual({ kind: 'not_sent', class: 'transient', code: 'connect_timeout' });
    expect(performance.now() - startedAt).toBeLessThan(6_000);
    server.close();
  });

  it.each([
    ['no client secret', { clientSecret: null }],
    ['no refresh token', { credential: null }],
    ['an empty client id', { clientId: '' }],
  ])('with %s', async (_name, members) => {
    const answer = await exchange({ definition: define(), ...members });
    expect(answer).toEqual({
      kind: 'not_sent',
      class: 'misconfigured',
      code: 'request_incomplete',
    });
    expect(endpoint.truth().connections).toBe(0);
  });

  it('with a variable missing, or one that would lead to a host that is not allowed', async () => {
    const definition = defineProvider({
      token_url: 'https://${tenant}/token',
      variables: { tenant: { pattern: '^.*$' } },
      allowed_hosts: ['*.example.com'],
    });
    expect(await exchange({ definition })).toMatchObject({ code: 'url_incomplete' });
    const variables = { tenant: 'evil.example.org' };
    expect(await exchange({ definition, variables })).toEqual({
      kind: 'not_sent',
      class: 'misconfigured',
      code: 'egress_refused',
    });
  });
});

describe('R47 egress', () => {
  it.each([
    ['127.0.0.1', ['127.0.0.1']],
    ['169.254.169.254', ['169.254.169.254']],
    ['::ffff:10.0.0.1', ['::ffff:10.0.0.1']],
    ['one private address among global ones', ['93.184.215.14', '10.0.0.1']],
  ])('refuses a name that resolves to %s and sends nothing', async (_name, addresses) => {
    const answer = await exchange({
      definition: defineProvider({ token_url: 'https://as.example.com/token' }),
      egress: loopbackEgress({ allow: '', lookup: () => Promise.resolve(addresses) }),
    });
    expect(answer).toEqual({ kind: 'not_sent', class: 'misconfigured', code: 'egress_refused' });
  });

  it('refuses an address as host all the same, and the endpoint there sees 0 bytes', async () => {
    const answer = await exchange({ definition: define(), egress: loopbackEgress({ allow: '' }) });
    expect(answer).toMatchObject({ kind: 'not_sent', code: 'egress_refused' });
    expect(endpoint.truth()).toMatchObject({ connections: 0, bytesReceived: 0 });
  });

  it('connects to the address that was checked: a second lookup is never made', async () => {
    let lookups = 0;
    const rebinding = () => {
      lookups += 1;
      return Promise.resolve([lookups === 1 ? '127.0.0.1' : '169.254.169.254']);
    };
    const url = `http://rebinding.example.com:${endpoint.port}/token`;
    endpoint.script({ body: { access_token: 'at-1' } });
    const answer = await exchange({
      definition: defineProvider({ token_url: url }),
      egress: loopbackEgress({ lookup: rebinding }),
    });
    expect(answer).toMatchObject({ kind: 'answer', status: 200 });
    expect(lookups).toBe(1);
    expect(endpoint.requests[0]?.headers['host']).toBe(`rebinding.example.com:${endpoint.port}`);
  });

  it('tries the next checked address when the first does not answer', async () => {
    endpoint.script({ body: {} });
    const answer = await exchange({
      definition: defineProvider({ token_url: `http://two.example.com:${endpoint.port}/token` }),
      egress: loopbackEgress({ lookup: () => Promise.resolve(['127.0.0.2', '127.0.0.1']) }),
    });
    expect(answer.kind).toBe('answer');
  });
});

describe('TLS', () => {
  it('verifies the name and sends it, over the pinned address', async () => {
    const tls = await issueCertificates(['as.example.com']);
    const secure = await startScriptedTokenEndpoint({ tls, hostname: 'as.example.com' });
    secure.script({ body: { access_token: 'at-1' } }, { body: {} });
    const trusted = { trustedCertificates: tls.authority };

    const definition = defineProvider({ token_url: secure.url });
    expect(await exchange({ definition, ...trusted })).toMatchObject({
      kind: 'answer',
      status: 200,
    });

    const byAddress = defineProvider({ token_url: `https://127.0.0.1:${secure.port}/token` });
    expect(await exchange({ definition: byAddress, ...trusted })).toEqual({
      kind: 'not_sent',
      class: 'misconfigured',
      code: 'tls_err_tls_cert_altname_invalid',
    });
    expect(await exchange({ definition })).toMatchObject({
      kind: 'not_sent',
      class: 'misconfigured',
      code: expect.stringMatching(/^tls_/) as string,
    });
    expect(secure.requests).toHaveLength(1);
    await secure.close();
  });

  it('that breaks in the handshake is transient', async () => {
    const server = await listen((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const url = urlOf(server).replace('http:', 'https:');
    const answer = await exchange({ definition: defineProvider({ token_url: url }) });
    expect(answer).toMatchObject({ kind: 'not_sent', class: 'transient' });
    expect(answer).toMatchObject({ code: expect.stringMatching(/^tls_/) as string });
    server.close();
  });
});

describe('secrets', () => {
  it('occur in nothing that can be printed', async () => {
    endpoint.script({ body: { access_token: 'at-planted', refresh_token: 'rt-planted' } });
    const connection = await connectTo({ definition: define() });
    if ('kind' in connection) throw new Error('is not connected');
    const answer = await connection.send({ mayStillSend: () => true, deadlineMs: 1_000 });
    expect(answer.kind).toBe('answer');
    const printed = [connection, answer]
      .map((value) => inspect(value, { depth: 20, showHidden: true }) + JSON.stringify(value))
      .join();
    expect(printed).not.toMatch(/planted|client-secret-1|refresh-token-1/);
  });
});

async function listen(onConnection: (socket: Socket) => void): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
}
