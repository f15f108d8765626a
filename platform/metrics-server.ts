import { createServer, type ServerResponse } from 'node:http';
import { listen } from './listen.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';
import type { Readiness } from './readiness.ts';

export interface MetricsServer {
  /** `http://host:port` */
  url: string;
  close(): Promise<void>;
}

/**
 * Plain HTTP for scrapes and probes, in the gateway and the worker alike: `/metrics`, `/ping` and
 * `/ready` answer GET and HEAD. Rejects when the port is in use.
 */
export async function createMetricsServer(options: {
  host: string;
  /** METRICS_PORT; 0 in a test chooses a free one. */
  port: number;
  metrics: Pick<Metrics, 'page'>;
  readiness: () => Readiness;
  log: Pick<Logger, 'error'>;
}): Promise<MetricsServer> {
  const { host, port, metrics, readiness, log } = options;

  async function respond(path: string, response: ServerResponse): Promise<void> {
    switch (path) {
      case '/metrics': {
        const page = await metrics.page();
        response.writeHead(200, { 'Content-Type': page.contentType }).end(page.body);
        return;
      }
      case '/ping':
        sendJson(response, 200, { status: 'ok' });
        return;
      case '/ready': {
        const current = readiness();
        sendJson(response, current.status === 'not_ready' ? 503 : 200, current);
        return;
      }
      default:
        sendText(response, 404, 'not found: /metrics, /ping and /ready are here\n');
    }
  }

  const server = createServer((request, response) => {
    request.resume();
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD');
      sendText(response, 405, 'method not allowed\n');
      return;
    }
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
    respond(path, response).catch((error: unknown) => {
      log.error({ err: error }, 'metrics page failed');
      if (!response.headersSent) sendText(response, 500, 'failed; the log says why\n');
    });
  });
  const { port: usedPort } = await listen(server, { host, port, setting: 'METRICS_PORT' });
  return {
    url: `http://${urlHost(host)}:${usedPort}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** An IPv6 address stands in brackets in a URL (RFC 3986 section 3.2.2). */
export function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  const retryAfter = status === 503 ? { 'Retry-After': '1' } : {};
  response
    .writeHead(status, { 'Content-Type': 'application/json', ...retryAfter })
    .end(JSON.stringify(body));
}

function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(text);
}
