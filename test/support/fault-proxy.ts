import { once } from 'node:events';
import {
  createServer,
  request as sendHttp,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** `before` the upstream gets the request, or `after` it has answered and so committed. */
type When = 'before' | 'after';

export type Fault =
  | { kind: 'hold'; when: When; until: Promise<unknown> }
  | { kind: 'delay'; when: When; ms: number }
  /** `until`: the connection is held open before it is dropped. */
  | { kind: 'drop'; when: When; until?: Promise<unknown> }
  | { kind: 'reset'; when: When }
  | { kind: 'bad_gateway'; when: When }
  /** A complete answer of the proxy's own, such as 503 or 429 with Retry-After. */
  | { kind: 'answer'; when: When; status: number; headers?: Record<string, string>; body?: object }
  /** So many bytes of the body that the headers announce, then the connection closes. */
  | { kind: 'truncate'; atBytes: number }
  /** 307, which asks for the body to be posted again elsewhere. */
  | { kind: 'redirect'; to: string };

export interface ProxyTruth {
  connections: number;
  /** Complete requests of clients. */
  requests: number;
  /** Requests that the upstream got. */
  forwarded: number;
  /** Requests that the upstream answered. */
  answered: number;
  /** Requests that met a fault. */
  faults: number;
}

export interface FaultProxy {
  /** In place of the upstream's origin. */
  origin: string;
  truth(): ProxyTruth;
  /** Requests whose body holds the text, such as a refresh token. */
  requestsHolding(text: string): number;
  /**
   * The next request that fits meets the fault; with `times: 'always'` every one until `clear`. Faults
   * are met in the order in which they were injected.
   */
  inject(
    fault: Fault,
    options?: { times?: number | 'always'; holding?: string; path?: string },
  ): void;
  clear(): void;
  /** Resolves when so many requests have arrived. */
  waitForRequests(count: number): Promise<void>;
  close(): Promise<void>;
}

export interface FaultProxyOptions {
  /** Absent: a free one. */
  port?: number;
  /** Asked for each POST that meets no injected fault. */
  chooseFault?: (request: ProxiedRequest) => Fault | undefined;
  /** Told of each answer of the upstream, once it is known whether all of it left for the client. */
  onAnswer?: (request: ProxiedRequest, answer: { status: number; hasLeft: boolean }) => void;
}

export interface ProxiedRequest {
  path: string;
  body: string;
}

interface Injected {
  fault: Fault;
  remaining: number;
  holding: string | undefined;
  path: string | undefined;
}

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

const hopHeaders = ['connection', 'content-length', 'keep-alive', 'transfer-encoding'];

/** A proxy in front of a token endpoint, which injects faults into POSTs and counts what happened. */
export async function startFaultProxy(
  upstreamOrigin: string,
  options: FaultProxyOptions = {},
): Promise<FaultProxy> {
  const upstream = new URL(upstreamOrigin);
  const truth: ProxyTruth = { connections: 0, requests: 0, forwarded: 0, answered: 0, faults: 0 };
  const bodies: string[] = [];
  const sockets = new Set<Socket>();
  const waiters: { count: number; resolve: () => void }[] = [];
  let injected: Injected[] = [];

  function takeFault(request: IncomingMessage, body: string): Fault | undefined {
    if (request.method !== 'POST') return undefined;
    const entry = injected.find(
      ({ holding, path }) =>
        (holding === undefined || body.includes(holding)) &&
        (path === undefined || path === request.url),
    );
    if (entry === undefined) {
      const chosen = options.chooseFault?.({ path: request.url ?? '', body });
      if (chosen !== undefined) truth.faults += 1;
      return chosen;
    }
    entry.remaining -= 1;
    if (entry.remaining <= 0) injected = injected.filter((other) => other !== entry);
    truth.faults += 1;
    return entry.fault;
  }

  async function forward(request: IncomingMessage, body: Buffer): Promise<Answer> {
    truth.forwarded += 1;
    const outgoing = sendHttp({
      host: upstream.hostname,
      port: upstream.port,
      method: request.method,
      path: request.url,
      headers: { ...request.headers, connection: 'close' },
    });
    outgoing.end(body);
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    const answerBody = await readBody(incoming);
    truth.answered += 1;
    return { status: incoming.statusCode ?? 502, headers: incoming.headers, body: answerBody };
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    truth.requests += 1;
    bodies.push(body.toString('utf8'));
    for (const waiter of waiters) if (truth.requests >= waiter.count) waiter.resolve();

    const fault = takeFault(request, body.toString('utf8'));
    if (fault?.kind === 'redirect') {
      response.writeHead(307, { location: fault.to }).end();
      return;
    }
    if (await meet(fault, 'before', response)) return;
    const answer = await forward(request, body).catch(() => undefined);
    if (answer === undefined) {
      answerBadGateway(response);
      return;
    }
    const { status } = answer;
    const proxied = { path: request.url ?? '', body: body.toString('utf8') };
    if (await meet(fault, 'after', response)) {
      options.onAnswer?.(proxied, { status, hasLeft: false });
      return;
    }
    response.once('close', () => {
      const hasLeft = response.writableFinished && fault?.kind !== 'truncate';
      options.onAnswer?.(proxied, { status, hasLeft });
    });
    // The client may have gone while the answer was held back.
    if (response.closed) options.onAnswer?.(proxied, { status, hasLeft: false });
    const { body: answerBody } = answer;
    const headers = Object.entries(answer.headers).filter(([name]) => !hopHeaders.includes(name));
    response.writeHead(status, {
      ...Object.fromEntries(headers),
      'content-length': String(answerBody.length),
    });
    if (fault?.kind === 'truncate') {
      const part = answerBody.subarray(0, fault.atBytes);
      response.write(part, () => response.socket?.destroySoon());
    } else {
      response.end(answerBody);
    }
  }

  const server = createServer((request, response) => {
    // A client that went away in the middle of its request leaves nobody to answer.
    handle(request, response).catch(() => response.socket?.destroy());
  });
  server.on('connection', (socket) => {
    truth.connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');

  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    truth: () => ({ ...truth }),
    requestsHolding: (text) => bodies.filter((body) => body.includes(text)).length,
    inject(fault, { times = 1, holding, path } = {}) {
      injected.push({ fault, holding, path, remaining: times === 'always' ? Infinity : times });
    },
    clear() {
      injected = [];
    },
    waitForRequests: (count) =>
      new Promise((resolve) => {
        if (truth.requests >= count) resolve();
        else waiters.push({ count, resolve });
      }),
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Carries a fault out if this is its moment; true: the request has had its end. */
async function meet(
  fault: Fault | undefined,
  when: When,
  response: ServerResponse,
): Promise<boolean> {
  if (fault === undefined || !('when' in fault) || fault.when !== when) return false;
  switch (fault.kind) {
    case 'hold':
      await fault.until;
      return false;
    case 'delay':
      await sleep(fault.ms);
      return false;
    case 'drop':
      await fault.until;
      response.socket?.destroy();
      return true;
    case 'reset':
      response.socket?.resetAndDestroy();
      return true;
    case 'bad_gateway':
      answerBadGateway(response);
      return true;
    case 'answer':
      response
        .writeHead(fault.status, { 'content-type': 'application/json', ...fault.headers })
        .end(JSON.stringify(fault.body ?? {}));
      return true;
  }
}

/** As proxies do it: a page. */
function answerBadGateway(response: ServerResponse): void {
  response
    .writeHead(502, { 'content-type': 'text/html' })
    .end('<html><body><h1>502 Bad Gateway</h1></body></html>');
}

async function readBody(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
