import { randomUUID } from 'node:crypto';
import { createServer as createPlainServer, type Server, type ServerOptions } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { Server as NetServer, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { getRequestListener, type Http2Bindings, type HttpBindings } from '@hono/node-server';
import { TokenManagerError } from '../client/contract.ts';
import type { Clock } from '../platform/clock.ts';
import type { TlsSource } from '../platform/tls-source.ts';
import { notHttp, problemOfClientError, writeProblem } from './client-error.ts';
import { identityOfCertificate } from './client-identity.ts';
import type { AnswerDirectly } from './direct-reads.ts';
import type { FailedRead, GatewayBindings } from './gateway-env.ts';
import { createHttpConnections } from './http-connections.ts';
import { drainLimitMs, httpLimits, type HttpLimits } from './http-limits.ts';
import { createProblem } from './problem.ts';
import { bodyMaxBytes } from './read-body.ts';
import { secureContextOptions, setTlsMaterial } from './tls-context.ts';

const drainSweepMs = 100;

export interface BufferSizes {
  /** Bounds the request line and headers; 431 beyond (FIBER_READ_BUFFER_SIZE). */
  readBufferSizeBytes: number;
  /** High-water mark of a socket (FIBER_WRITE_BUFFER_SIZE). */
  writeBufferSizeBytes: number;
}

export interface HttpServer {
  server: Server;
  /**
   * Accepts no more connections and resolves once the requests under way are answered; after 23 s it
   * cuts what is left. Connections that are kept alive end with their next answer, or soon if idle.
   */
  drain(): Promise<void>;
}

interface HttpServerOptions extends BufferSizes {
  fetch: (request: Request, bindings: GatewayBindings) => Response | Promise<Response>;
  /** Asked before `fetch`. Absent: everything goes there. */
  answerDirectly?: AnswerDirectly;
  clock: Clock;
  /** Absent: plain HTTP. With a client bundle only clients whose certificates it accepts get in. */
  tls?: TlsSource | undefined;
  /** Told of what was answered, or refused, before the app saw a request. */
  onRefused?: (refusal: TokenManagerError) => void;
  /** Told why a TLS handshake failed. */
  onHandshakeFailed?: (reason: string) => void;
  /** Told why connections are closed without a word. */
  onDropped?: (reason: string) => void;
  /** Only tests change these. */
  limits?: Partial<HttpLimits>;
}

/**
 * A server for the app, not yet listening, with limits on what clients send and how slowly. What Node
 * refuses before the app sees it gets its problem here.
 */
export function createHttpServer(options: HttpServerOptions): HttpServer {
  const { fetch, answerDirectly, clock, tls, onRefused } = options;
  const limits = { ...httpLimits, ...options.limits };
  const connections = createHttpConnections(() => clock.monotonicMs());

  const failedReads = new WeakMap<object, FailedRead>();
  const answer = (request: Request, { incoming }: HttpBindings | Http2Bindings) => {
    const bindings = connections.bindings(incoming.socket) ?? { clientIdentity: null };
    const failedRead = failedReads.get(incoming);
    return fetch(request, failedRead === undefined ? bindings : { ...bindings, failedRead });
  };
  const listener = getRequestListener(answer, {
    // Only what is no request at all (a bad Host or target) gets here; the app answers the rest.
    errorHandler: () => {
      const error = notHttp();
      onRefused?.(error);
      const { body, headers, status } = createProblem(error, { requestId: randomUUID() });
      return new Response(JSON.stringify(body), { status, headers });
    },
  });

  const serverOptions: ServerOptions = {
    maxHeaderSize: options.readBufferSizeBytes,
    highWaterMark: options.writeBufferSizeBytes,
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    connectionsCheckingInterval: limits.checkEveryMs,
    keepAliveTimeout: limits.keepAliveMs,
    // A request without a Host is refused where the app's address is made of it, with a problem.
    requireHostHeader: false,
  };
  const server =
    tls === undefined
      ? createPlainServer(serverOptions)
      : createTlsServer({
          ...serverOptions,
          ...secureContextOptions(tls.current()),
          handshakeTimeout: limits.handshakeMs,
          requestCert: tls.current().clientBundle !== undefined,
          rejectUnauthorized: true,
        });
  server.timeout = limits.silenceMs;
  server.maxConnections = limits.connections + limits.connectionsBeyond;

  server.on('request', (request, response) => {
    const bindings = connections.begin(request, response);
    const leave = (failedRead?: FailedRead) => {
      if (failedRead !== undefined) failedReads.set(request, failedRead);
      // The listener answers its own failures, so there is nobody left to tell.
      void listener(request, response);
    };
    const isAnswered =
      bindings !== undefined && answerDirectly?.(request, response, bindings, leave) === true;
    if (!isAnswered) leave();
  });
  // An expectation that is not known may be ignored (RFC 9110 section 10.1.1).
  server.on('checkExpectation', (request, response) => server.emit('request', request, response));
  server.on('checkContinue', (request, response) => {
    const lengthBytes = Number(request.headers['content-length'] ?? 0);
    if (lengthBytes <= bodyMaxBytes) response.writeContinue();
    server.emit('request', request, response);
  });
  server.on('connect', (_request, socket) => {
    if (!(socket instanceof Socket)) return;
    refuse(socket, new TokenManagerError('method_not_allowed'), {
      Allow: 'GET, HEAD, POST, PUT, DELETE',
    });
  });

  /** Answered once already: what else comes is not looked at. */
  const refused = new WeakSet<Socket>();
  function refuse(socket: Socket, error: TokenManagerError, headers?: Record<string, string>) {
    refused.add(socket);
    onRefused?.(error);
    writeProblem(socket, error, headers);
  }
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (!(socket instanceof Socket) || refused.has(socket)) return;
    const isConnected = connections.bindings(socket) !== undefined;
    const isWritable = socket.writable && error.code !== 'ECONNRESET';
    if (!isConnected || !isWritable || connections.hasBegunResponse(socket)) socket.destroy();
    else refuse(socket, problemOfClientError(error));
  });

  function addConnection(socket: Socket): void {
    const isBeyond = connections.size() >= limits.connections;
    const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
    if (socket instanceof TLSSocket) setHighWaterMark(socket, options.writeBufferSizeBytes);
    const trustedBy = tls?.current().clientBundle;
    const expiresAtMs = certificate === undefined ? Infinity : Date.parse(certificate.validTo);
    connections.add(socket, {
      bindings: {
        clientIdentity: certificate === undefined ? null : identityOfCertificate(certificate),
        clientAddress: socket.remoteAddress,
        memoryOnly: isBeyond,
      },
      // Whoever is trusted no longer gets no further than this.
      isLast: () =>
        isBeyond || tls?.current().clientBundle !== trustedBy || expiresAtMs <= clock.wallMs(),
    });
  }

  if (tls === undefined) server.on('connection', addConnection);
  else {
    // It was made by createTlsServer.
    const tlsServer = server as ReturnType<typeof createTlsServer>;
    setTlsMaterial(tlsServer, tls.current());
    tls.subscribe((material) => setTlsMaterial(tlsServer, material));
    server.on('connection', (socket: Socket) => connections.addHandshake(socket));
    server.on('secureConnection', addConnection);
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      // Its type says that this is an error; it is the code of one (`CERT_HAS_EXPIRED`).
      const verification = socket.authorizationError as unknown as string | null;
      options.onHandshakeFailed?.(verification ?? error.code ?? 'unknown');
    });
  }
  server.on('drop', () => options.onDropped?.(`more than ${server.maxConnections} are open`));

  async function drain(): Promise<void> {
    connections.drain();
    // The method of http.Server would first cut the idle connections, on which a request may be coming.
    const closed = new Promise<void>((resolve) => {
      NetServer.prototype.close.call(server, () => resolve());
    });
    const sweep = setInterval(() => {
      connections.endIdle();
    }, drainSweepMs);
    const limit = setTimeout(() => server.closeAllConnections(), drainLimitMs);
    await closed;
    clearInterval(sweep);
    clearTimeout(limit);
    // Ends the timer that looks for slow requests.
    server.close();
  }

  return { server, drain };
}

/** Node gives the option to TCP sockets only, and the writing is done by the TLS socket. */
function setHighWaterMark(socket: TLSSocket, sizeBytes: number): void {
  const { _writableState: state } = socket as unknown as {
    _writableState: { highWaterMark: number };
  };
  state.highWaterMark = sizeBytes;
}
