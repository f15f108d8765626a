import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';
import { createGzip } from 'node:zlib';
import type { ServerCertificates } from './certificates.ts';
import {
  createTokenFamilies,
  type FamilyRotation,
  type FamilyTruth,
  type IssuedTokens,
} from './token-family.ts';

const floodChunkBytes = 1_024 * 1_024;
const slowChunkMs = 50;

/** How one request is answered; absent members: at once, 200, as the rotation would. */
export interface Step {
  status?: number;
  headers?: Record<string, string>;
  /** An object is sent as JSON. Absent: the answer of the rotation class, which spends the token. */
  body?: string | Buffer | object;
  delayMs?: number;
  /** The answer waits for this. */
  hold?: Promise<unknown>;
  /** `close` and `reset` instead of an answer, `before` or `after` the token is spent. */
  drop?: { how: 'close' | 'reset'; when: 'before' | 'after' };
  /** So many bytes of the body, then the connection closes. */
  truncateAtBytes?: number;
  /** The body trickles, so many bytes every 50 ms, or every `trickleEveryMs`. */
  trickleBytes?: number;
  trickleEveryMs?: number;
  /** Instead of a body: so many zero bytes, gzipped. */
  gzipBombBytes?: number;
  /** Instead of a body: so many zero bytes. */
  floodBytes?: number;
}

export interface ReceivedRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  /** Of the form, JSON or query. */
  params: Record<string, unknown>;
  body: string;
  /** SHA-256 of the client's certificate; null: it showed none. */
  clientFingerprint: string | null;
}

export interface EndpointTruth extends FamilyTruth {
  connections: number;
  /** On all connections, TLS handshakes not counted. */
  bytesReceived: number;
  /** Handed to the connections so far. */
  bytesSent: number;
}

export interface ScriptedTokenEndpoint {
  /** Of the token endpoint. */
  url: string;
  port: number;
  requests: ReceivedRequest[];
  truth(): EndpointTruth;
  /** How often a refresh token arrived. */
  sendsOf(refreshToken: string): number;
  /** A new grant, known to the default behaviour. */
  grant(): IssuedTokens;
  /** A call of the provider's API with the access token. */
  useAccessToken(accessToken: string): void;
  /** Queues steps; when none is left, requests are answered by the default behaviour. */
  script(...steps: Step[]): void;
  /** Forgets the steps that no request has met. */
  clearScript(): void;
  /** Resolves when so many requests have arrived. */
  waitForRequests(count: number): Promise<void>;
  close(): Promise<void>;
}

/** A real token endpoint on loopback, which answers from a script and knows what happened. */
export async function startScriptedTokenEndpoint(
  options: {
    tls?: ServerCertificates;
    /** PEM; over TLS only clients whom it certified are let in. */
    clientAuthority?: string;
    host?: string;
    hostname?: string;
    /** Of the default behaviour; F if absent. */
    rotation?: FamilyRotation;
    /** The step for a request that the script has none for; undefined: the answer of the class. */
    respond?: (request: ReceivedRequest) => Step | undefined;
  } = {},
): Promise<ScriptedTokenEndpoint> {
  const { tls, clientAuthority, host = '127.0.0.1', hostname = host, rotation, respond } = options;
  const families = createTokenFamilies(rotation);
  const steps: Step[] = [];
  const requests: ReceivedRequest[] = [];
  const sockets = new Set<Socket>();
  const waiters: { count: number; resolve: () => void }[] = [];
  let connections = 0;
  let bytesReceived = 0;
  let bytesSentBefore = 0;

  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    void receive(request).then(async (received) => {
      requests.push(received);
      for (const waiter of waiters) if (requests.length >= waiter.count) waiter.resolve();
      await answer(steps.shift() ?? respond?.(received) ?? {}, received, response);
    }, ignoreBrokenRequest);
  };
  const server =
    tls === undefined
      ? createServer(onRequest)
      : createTlsServer(
          {
            key: tls.key,
            cert: tls.cert,
            ...(clientAuthority !== undefined && { requestCert: true, ca: clientAuthority }),
          },
          onRequest,
        );
  server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => (bytesReceived += chunk.length));
    socket.once('close', () => {
      sockets.delete(socket);
      bytesSentBefore += socket.bytesWritten;
    });
  });
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  function defaultAnswer(received: ReceivedRequest): { status: number; body: object } {
    const refreshToken = received.params['refresh_token'];
    const tokens = typeof refreshToken === 'string' ? families.rotate(refreshToken) : null;
    if (tokens === null) return { status: 400, body: { error: 'invalid_grant' } };
    const { accessToken: access_token, refreshToken: refresh_token } = tokens;
    const body = { access_token, refresh_token, token_type: 'Bearer', expires_in: 3_600 };
    return { status: 200, body };
  }

  async function answer(
    step: Step,
    received: ReceivedRequest,
    response: ServerResponse,
  ): Promise<void> {
    if (step.drop?.when === 'before') {
      drop(response.socket, step.drop.how);
      return;
    }
    const isFlood = step.gzipBombBytes !== undefined || step.floodBytes !== undefined;
    const { status, body } =
      step.body === undefined && !isFlood
        ? defaultAnswer(received)
        : { status: 200, body: step.body ?? '' };
    await step.hold;
    if (step.delayMs !== undefined) await sleep(step.delayMs);
    if (step.drop !== undefined) {
      drop(response.socket, step.drop.how);
      return;
    }
    await write(response, step, step.status ?? status, body);
  }

  return {
    url: `${tls === undefined ? 'http' : 'https'}://${hostname}:${port}/token`,
    port,
    requests,
    truth: () => ({
      ...families.truth,
      connections,
      bytesReceived,
      bytesSent: [...sockets].reduce(
        (sum, { bytesWritten }) => sum + bytesWritten,
        bytesSentBefore,
      ),
    }),
    sendsOf: (refreshToken) =>
      requests.filter(({ params }) => params['refresh_token'] === refreshToken).length,
    grant: () => families.grant(),
    useAccessToken(accessToken) {
      families.useAccessToken(accessToken);
    },
    script: (...more) => void steps.push(...more),
    clearScript() {
      steps.length = 0;
    },
    waitForRequests: (count) =>
      new Promise((resolve) => {
        if (requests.length >= count) resolve();
        else waiters.push({ count, resolve });
      }),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

async function receive(request: IncomingMessage): Promise<ReceivedRequest> {
  const body = await readText(request);
  const url = new URL(request.url ?? '/', 'http://localhost');
  const headers = Object.fromEntries(
    Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
  );
  const form = body === '' ? url.searchParams : new URLSearchParams(body);
  const params = (headers['content-type'] ?? '').includes('json')
    ? (JSON.parse(body) as Record<string, unknown>)
    : Object.fromEntries(form);
  const clientFingerprint =
    request.socket instanceof TLSSocket
      ? (request.socket.getPeerX509Certificate()?.fingerprint256 ?? null)
      : null;
  return {
    method: request.method ?? '',
    path: url.pathname,
    headers,
    params,
    body,
    clientFingerprint,
  };
}

async function readText(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}

async function write(
  response: ServerResponse,
  step: Step,
  status: number,
  content: string | Buffer | object,
): Promise<void> {
  if (step.gzipBombBytes !== undefined) {
    response.writeHead(status, { 'content-encoding': 'gzip', ...step.headers });
    await pipeline(zeros(step.gzipBombBytes), createGzip(), response).catch(ignoreEnough);
    return;
  }
  if (step.floodBytes !== undefined) {
    response.writeHead(status, { 'content-type': 'application/json', ...step.headers });
    await pipeline(zeros(step.floodBytes), response).catch(ignoreEnough);
    return;
  }
  const isObject = typeof content === 'object' && !Buffer.isBuffer(content);
  const body = Buffer.isBuffer(content)
    ? content
    : Buffer.from(isObject ? JSON.stringify(content) : content);
  response.writeHead(status, {
    ...(isObject ? { 'content-type': 'application/json' } : {}),
    'content-length': String(body.length),
    ...step.headers,
  });
  if (step.truncateAtBytes !== undefined) {
    response.write(body.subarray(0, step.truncateAtBytes), () => response.socket?.destroySoon());
  } else if (step.trickleBytes !== undefined) {
    await trickle(response, body, step.trickleBytes, step.trickleEveryMs ?? slowChunkMs);
  } else {
    response.end(body);
  }
}

async function trickle(
  response: ServerResponse,
  body: Buffer,
  chunkBytes: number,
  everyMs: number,
): Promise<void> {
  for (let at = 0; at < body.length && !response.destroyed; at += chunkBytes) {
    response.write(body.subarray(at, at + chunkBytes));
    await sleep(everyMs);
  }
  response.end();
}

function zeros(sizeBytes: number): Readable {
  const chunk = Buffer.alloc(floodChunkBytes);
  const chunks = function* (): Generator<Buffer> {
    for (let at = 0; at < sizeBytes; at += floodChunkBytes) yield chunk;
  };
  return Readable.from(chunks());
}

/** The client has had enough, which is what a flood is for. */
function ignoreEnough(): void {
  return undefined;
}

function drop(socket: Socket | null, how: 'close' | 'reset'): void {
  if (how === 'reset') socket?.resetAndDestroy();
  else socket?.destroy();
}

/** The client went away in the middle of its request: nothing was asked, and nothing is answered. */
function ignoreBrokenRequest(): void {
  return undefined;
}
