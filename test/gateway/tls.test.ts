import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request, type RequestOptions } from 'node:https';
import { text } from 'node:stream/consumers';
import { connect as connectTls, type SecureVersion } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { GatewayBindings } from '../../gateway/gateway-env.ts';
import { createHttpServer } from '../../gateway/http-server.ts';
import { listen } from '../../platform/listen.ts';
import { createTlsSource, type TlsSource } from '../../platform/tls-source.ts';
import { systemClock } from '../../platform/clock.ts';
import { issueCertificates, type ServerCertificates } from '../support/certificates.ts';
import { createComposer } from './compose-for-test.ts';
import { createFakeGateway } from './gateway-fakes.ts';

const lookEveryMs = 20;
const compose = createComposer();
const folder = mkdtempSync(join(tmpdir(), 'tls-'));
let server: ServerCertificates;
let renewed: ServerCertificates;
let client: ServerCertificates;
let stranger: ServerCertificates;
const sources: TlsSource[] = [];

beforeAll(async () => {
  server = await issueCertificates(['127.0.0.1']);
  renewed = await issueCertificates(['127.0.0.1']);
  client = await issueCertificates(['Caller.test']);
  stranger = await issueCertificates(['stranger.test']);
});
afterEach(() => {
  for (const source of sources.splice(0)) source.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  // As a careful writer does: nobody reads half a file.
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  return path;
}

/** A gateway with the server's pair, and mutual TLS when there is a bundle. */
async function serve(bundle?: string) {
  const { dependencies, lines } = createFakeGateway();
  const { log } = dependencies;
  const tls = createTlsSource({
    files: {
      certificate: { setting: 'MTLS_CERT_FILE', path: write('server.pem', server.cert) },
      key: { setting: 'MTLS_KEY_FILE', path: write('server.key', server.key) },
      ...(bundle !== undefined && {
        clientBundle: { setting: 'MTLS_CLIENT_CERT_FILE', path: write('bundle.pem', bundle) },
      }),
    },
    readFile: (path) => readFileSync(path, 'utf8'),
    clock: systemClock,
    log,
    lookEveryMs,
  });
  sources.push(tls);
  const composed = await compose({ tls, log });
  return { ...composed, lines, tls };
}

interface Reply {
  status: number;
  connection: string | undefined;
  served: string;
}

function ask(url: string, options: RequestOptions = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    request(
      `${url}/ping`,
      { ca: [server.authority, renewed.authority], agent: false, ...options },
      (response) => {
        const { socket } = response;
        const served =
          'getPeerX509Certificate' in socket
            ? (socket as ReturnType<typeof connectTls>).getPeerX509Certificate()?.fingerprint256
            : undefined;
        response.resume();
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            connection: response.headers.connection,
            served: served ?? '',
          }),
        );
      },
    )
      .on('error', reject)
      .end();
  });
}

/** Asks once, and tells the session to resume, if any came, and whether this one was resumed. */
async function askInSession(url: string, version: SecureVersion, session?: Buffer) {
  const { hostname, port } = new URL(url);
  const socket = connectTls({
    host: hostname,
    port: Number(port),
    ca: server.authority,
    minVersion: version,
    maxVersion: version,
    session,
    ...shows(client),
  });
  let given: Buffer | undefined;
  socket.on('session', (each) => (given = each));
  await once(socket, 'secureConnect');
  const isResumed = socket.isSessionReused();
  socket.end('GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  expect(await text(socket)).toContain('200 OK');
  return { session: given, isResumed };
}

const shows = ({ cert, key }: ServerCertificates) => ({ cert, key });
const fingerprint = ({ cert }: ServerCertificates) => new X509Certificate(cert).fingerprint256;

describe('TLS', () => {
  it('serves 1.2 and 1.3, and nothing older', async () => {
    const { gateway } = await serve();
    expect(gateway.url).toMatch(/^https:/);
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const reply = await ask(gateway.url, { minVersion: version, maxVersion: version });
      expect(reply).toMatchObject({ status: 200, served: fingerprint(server) });
    }
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' } as const;
    await expect(ask(gateway.url, old)).rejects.toThrow();
  });

  it('does not answer plain HTTP, and says so in the log once', async () => {
    const { gateway, lines } = await serve();
    for (let time = 0; time < 3; time += 1) {
      await expect(fetch(gateway.url.replace('https', 'http'))).rejects.toThrow();
    }
    await vi.waitFor(() => expect(lines.join('')).toContain('TLS handshake failed'));
    expect(lines.filter((line) => line.includes('handshake'))).toHaveLength(1);
  });

  it('does not wait at its end for a handshake that never comes', async () => {
    const { gateway } = await serve();
    const { port, hostname } = new URL(gateway.url);
    const silent = connectTcp(Number(port), hostname).on('error', () => undefined);
    await new Promise((resolve) => silent.once('connect', resolve));
    const startedMs = performance.now();
    await gateway.close();
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    silent.destroy();
  });
});

describe('mutual TLS', () => {
  it('accepts clients of the authorities in the bundle, and nobody else', async () => {
    const { gateway, lines } = await serve(client.authority);
    expect((await ask(gateway.url, shows(client))).status).toBe(200);
    await expect(ask(gateway.url)).rejects.toThrow();
    await expect(ask(gateway.url, shows(stranger))).rejects.toThrow();
    await vi.waitFor(() => {
      expect(lines.join('')).toContain('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE');
      expect(lines.join('')).toContain('UNABLE_TO_GET_ISSUER_CERT_LOCALLY');
    });
  });

  it('accepts a pinned certificate although its authority is not in the bundle', async () => {
    const { gateway, tls } = await serve(client.cert);
    expect((await ask(gateway.url, shows(client))).status).toBe(200);
    await expect(ask(gateway.url, shows(stranger))).rejects.toThrow();
    const changed = new Promise((resolve) => tls.subscribe(resolve));
    write('bundle.pem', `${client.cert}${stranger.cert}`);
    await changed;
    expect((await ask(gateway.url, shows(client))).status).toBe(200);
    expect((await ask(gateway.url, shows(stranger))).status).toBe(200);
  });

  it.each<SecureVersion>(['TLSv1.2', 'TLSv1.3'])(
    'resumes no session of %s: it would not look at the certificate again',
    async (version) => {
      const { gateway } = await serve(client.authority);
      const { session } = await askInSession(gateway.url, version);
      const again = await askInSession(gateway.url, version, session);
      expect(again.isResumed).toBe(false);
    },
  );

  it('tells the app who the client is, by one value for all requests of a connection', async () => {
    const bindings: GatewayBindings[] = [];
    const { tls } = await serve(client.authority);
    const http = createHttpServer({
      tls,
      clock: systemClock,
      readBufferSizeBytes: 4_096,
      writeBufferSizeBytes: 5_000,
      fetch(_request, each) {
        bindings.push(each);
        return new Response(null, { status: 204 });
      },
    });
    const { port } = await listen(http.server, { host: '127.0.0.1', port: 0, setting: 'PORT' });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let time = 0; time < 2; time += 1) {
      await ask(`https://127.0.0.1:${port}`, { agent, ...shows(client) });
    }
    expect(bindings[0]).toEqual({
      clientIdentity: { subjects: ['dns:caller.test'] },
      clientAddress: '127.0.0.1',
      memoryOnly: false,
    });
    expect(bindings[1]?.clientIdentity).toBe(bindings[0]?.clientIdentity);
    agent.destroy();
    await http.drain();
  });
});

describe('TLS files that change', () => {
  it('serve new connections, and those that are open go on', async () => {
    const { gateway, tls } = await serve();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    expect((await ask(gateway.url, { agent })).served).toBe(fingerprint(server));
    const changed = new Promise((resolve) => tls.subscribe(resolve));
    write('server.pem', renewed.cert);
    write('server.key', renewed.key);
    await changed;
    expect(await ask(gateway.url, { agent })).toMatchObject({
      status: 200,
      connection: 'keep-alive',
    });
    expect(Object.values(agent.freeSockets)).toHaveLength(1);
    expect((await ask(gateway.url)).served).toBe(fingerprint(renewed));
    agent.destroy();
  });

  it('that cannot be used change nothing, and the log says which and why', async () => {
    const { gateway, lines } = await serve();
    write('server.key', stranger.key);
    await vi.waitFor(() => expect(lines.join('')).toContain('which is not the key of the first'));
    expect(lines.join('')).toMatch(/"level":"error".*MTLS_KEY_FILE names the file/);
    expect((await ask(gateway.url)).served).toBe(fingerprint(server));
    write('server.key', server.key);
    await vi.waitFor(() => expect(lines.join('')).toContain('TLS files read anew'));
  });

  it('a client whose certificate is no longer in the bundle gets one more answer, and no connection', async () => {
    const { gateway, tls } = await serve(`${client.cert}${stranger.cert}`);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const kept = { agent, ...shows(stranger) };
    expect(await ask(gateway.url, kept)).toMatchObject({ connection: 'keep-alive' });
    const changed = new Promise((resolve) => tls.subscribe(resolve));
    write('bundle.pem', client.cert);
    await changed;
    expect(await ask(gateway.url, kept)).toMatchObject({ status: 200, connection: 'close' });
    await expect(ask(gateway.url, kept)).rejects.toThrow();
    expect((await ask(gateway.url, shows(client))).status).toBe(200);
    agent.destroy();
  });
});
