import { randomUUID } from 'node:crypto';
import { createServer, STATUS_CODES, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener, type Http2Bindings, type HttpBindings } from '@hono/node-server';
import { TokenManagerError, type ProblemCode } from '../client/contract.ts';
import type { GatewayBindings } from './gateway-env.ts';
import { createProblem } from './problem.ts';

const drainLimitMs = 25_000;
const idleSweepMs = 100;

/** The slowest request line and headers, and the slowest whole request, that a client may send. */
const headersLimitMs = 10_000;
const requestLimitMs = 30_000;
const keepAliveMs = 65_000;

export interface BufferSizes {
  /** Bounds the request line and headers; 431 beyond (FIBER_READ_BUFFER_SIZE). */
  readBufferSizeBytes: number;
  /** High-water mark of a socket (FIBER_WRITE_BUFFER_SIZE). */
  writeBufferSizeBytes: number;
}

export interface HttpServer {
  server: Server;
  /**
   * Accepts no more connections and resolves once the requests under way are answered; after 25 s it
   * cuts what is left.
   */
  drain(): Promise<void>;
}

/**
 * A plain HTTP server for the app, not yet listening, with limits on how slowly a request may come.
 * What Node's parser refuses gets its problem here, for it never reaches the app.
 */
export function createHttpServer(
  fetch: (request: Request, bindings: GatewayBindings) => Response | Promise<Response>,
  { readBufferSizeBytes, writeBufferSizeBytes }: BufferSizes,
): HttpServer {
  const openRequests = new Map<Socket, number>();
  const countRequest = (socket: Socket, change: 1 | -1) => {
    const open = openRequests.get(socket);
    if (open !== undefined) openRequests.set(socket, open + change);
  };
  const answer = (request: Request, { incoming }: HttpBindings | Http2Bindings) =>
    fetch(request, { clientIdentity: null, clientAddress: incoming.socket.remoteAddress });
  const listener = getRequestListener(answer, {
    // Only what is no request at all (a bad Host or target) gets here; the app answers the rest.
    errorHandler: () => {
      const { body, headers, status } = createProblem(notHttp(), { requestId: randomUUID() });
      return new Response(JSON.stringify(body), { status, headers });
    },
  });
  const server = createServer(
    {
      headersTimeout: headersLimitMs,
      requestTimeout: requestLimitMs,
      keepAliveTimeout: keepAliveMs,
      maxHeaderSize: readBufferSizeBytes,
      highWaterMark: writeBufferSizeBytes,
    },
    (request, response) => {
      const { socket } = request;
      countRequest(socket, 1);
      response.on('close', () => countRequest(socket, -1));
      // The listener answers its own failures, so there is nobody left to tell.
      void listener(request, response);
    },
  );
  server.on('clientError', answerClientError);
  server.on('connection', (socket) => {
    openRequests.set(socket, 0);
    socket.on('close', () => openRequests.delete(socket));
  });

  async function drain(): Promise<void> {
    const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
    // closeIdleConnections spares a connection that never carried a request (clients open some ahead
    // of need), and it knows nothing of those that become idle later.
    const sweep = setInterval(() => {
      for (const [socket, open] of openRequests) if (open === 0) socket.destroy();
    }, idleSweepMs);
    const limit = setTimeout(() => server.closeAllConnections(), drainLimitMs);
    await closed;
    clearInterval(sweep);
    clearTimeout(limit);
  }

  return { server, drain };
}

function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const code = clientErrorCodes[error.code ?? ''];
  const fault = code === undefined ? notHttp() : new TokenManagerError(code);
  const problem = createProblem(fault, { requestId: randomUUID() });
  const text = JSON.stringify(problem.body);
  const headers = {
    ...problem.headers,
    'Content-Length': String(Buffer.byteLength(text)),
    Connection: 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ''}\r\n${lines.join('')}\r\n${text}`,
  );
}

const clientErrorCodes: Record<string, ProblemCode> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
};

function notHttp(): TokenManagerError {
  return new TokenManagerError('input_validation', {
    detail: 'The request is not HTTP that this service reads.',
  });
}
