import { randomUUID } from 'node:crypto';
import { createServer, STATUS_CODES, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { getRequestListener } from '@hono/node-server';
import { TokenManagerError, type ProblemCode } from '../client/contract.ts';
import { listen } from '../platform/listen.ts';
import type { Metrics } from '../platform/metrics.ts';
import { createMetricsServer, urlHost } from '../platform/metrics-server.ts';
import { createReadiness } from '../platform/readiness.ts';
import { createGateway, type GatewayDependencies } from './create-gateway.ts';
import { createProblem } from './problem.ts';

const drainLimitMs = 25_000;
const idleSweepMs = 100;

/** The slowest request line and headers, and the slowest whole request, that a client may send. */
const headersLimitMs = 10_000;
const requestLimitMs = 30_000;
const keepAliveMs = 65_000;

export interface ComposedGateway {
  url: string;
  /** Undefined when METRICS_PORT is 0. */
  metricsUrl: string | undefined;
  /**
   * Drains: not ready, no new connections, waits up to 25 s for the requests under way, then closes
   * what is left. Closing again awaits the same end.
   */
  close(): Promise<void>;
}

type GatewayComposition = Omit<GatewayDependencies, 'readiness' | 'metrics'> & {
  metrics: Metrics;
  host: string;
  /** 0 chooses a free one. */
  port: number;
  /** 0 turns the metrics server off. */
  metricsPort: number;
  /** Resolve when the dependency answers; `postgres` decides when the gateway is ready at first. */
  checks: { postgres: () => Promise<unknown>; temporal: () => Promise<unknown> };
};

/** A gateway that listens: HTTP on `host:port`, metrics and probes beside it. Rejects on a busy port. */
export async function composeGateway(composition: GatewayComposition): Promise<ComposedGateway> {
  const { host, port, metricsPort, metrics, checks, log } = composition;
  const readiness = createReadiness({ checks, required: ['postgres'] });
  const app = createGateway({ ...composition, readiness: () => readiness.current() });
  const server = createHttpServer(app.fetch);
  try {
    const metricsServer =
      metricsPort === 0
        ? undefined
        : await createMetricsServer({
            host,
            port: metricsPort,
            metrics,
            readiness: () => readiness.current(),
            log,
          });
    let address;
    try {
      address = await listen(server, { host, port, setting: 'PORT' });
    } catch (error) {
      await metricsServer?.close();
      throw error;
    }
    let closing: Promise<void> | undefined;
    return {
      url: `http://${urlHost(host)}:${address.port}`,
      metricsUrl: metricsServer?.url,
      close() {
        closing ??= (async () => {
          readiness.drain();
          await drain(server);
          await metricsServer?.close();
          readiness.close();
        })();
        return closing;
      },
    };
  } catch (error) {
    readiness.close();
    throw error;
  }
}

function createHttpServer(fetch: (request: Request) => Response | Promise<Response>): Server {
  const listener = getRequestListener(fetch, {
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
    },
    (request, response) => {
      // The listener answers its own failures, so there is nobody left to tell.
      void listener(request, response);
    },
  );
  server.on('clientError', answerClientError);
  return server;
}

/** What Node's parser refuses never reaches the app: it gets its problem here. */
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

/** Stops accepting; connections end as their requests do, the rest are cut after the limit. */
async function drain(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
  // Node closes the connections that are idle now; those that become idle later would live on.
  const sweep = setInterval(() => server.closeIdleConnections(), idleSweepMs);
  const limit = setTimeout(() => server.closeAllConnections(), drainLimitMs);
  await closed;
  clearInterval(sweep);
  clearTimeout(limit);
}
