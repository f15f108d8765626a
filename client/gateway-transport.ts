import { Agent as HttpAgent, request as requestHttp, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import type { SecureContextOptions } from 'node:tls';

export interface GatewayRequest {
  method: 'GET' | 'POST';
  url: URL;
  headers: Record<string, string>;
  body?: string;
  /** For the whole exchange. */
  timeoutMs: number;
  signal: AbortSignal;
}

export interface GatewayAnswer {
  status: number;
  header: (name: string) => string | undefined;
  text: string;
}

/** One request, one answer; throws `UnansweredError` where there is none. */
export type SendToGateway = (request: GatewayRequest) => Promise<GatewayAnswer>;

/** No answer came. */
export class UnansweredError extends Error {
  override readonly name = 'UnansweredError';
  /** False: the service has surely not seen the request. */
  readonly mayHaveArrived: boolean;

  constructor(cause: unknown, mayHaveArrived: boolean) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.mayHaveArrived = mayHaveArrived;
  }
}

const connectTimeoutMs = 5_000;
const answerLimitBytes = 1_048_576;
const maxSockets = 64;
/** Shorter than the 65 s after which the gateway closes an idle connection. */
const idleLimitMs = 30_000;

export interface NodeTransport {
  send: SendToGateway;
  /** Lets requests under way end, and closes every connection that has none. */
  retire: () => void;
  close: () => void;
}

/** Connections of one pool, kept alive. `https` has the certificates that `tls` holds. */
export function createNodeTransport(
  protocol: 'http:' | 'https:',
  tls: SecureContextOptions & { servername?: string } = {},
): NodeTransport {
  const pool = { keepAlive: true, maxSockets, maxFreeSockets: 16, timeout: idleLimitMs };
  const agent = protocol === 'https:' ? new HttpsAgent({ ...pool, ...tls }) : new HttpAgent(pool);
  const request = protocol === 'https:' ? requestHttps : requestHttp;

  const send: SendToGateway = ({ method, url, headers, body, timeoutMs, signal }) =>
    new Promise((resolve, reject) => {
      let mayHaveArrived = false;
      const fail = (cause: unknown): void => {
        stopClocks();
        outgoing.destroy();
        reject(new UnansweredError(cause, mayHaveArrived));
      };
      const outgoing = request(url, {
        agent,
        method,
        headers: {
          ...headers,
          ...(body !== undefined && { 'content-length': String(Buffer.byteLength(body)) }),
        },
      });
      const total = setTimeout(() => fail(timeout('No answer', timeoutMs)), timeoutMs);
      let connecting: NodeJS.Timeout | undefined;
      const abort = (): void => fail(signal.reason);
      const stopClocks = (): void => {
        clearTimeout(total);
        clearTimeout(connecting);
        signal.removeEventListener('abort', abort);
      };
      signal.addEventListener('abort', abort, { once: true });
      outgoing.once('socket', (socket) => {
        const isReady = protocol === 'https:' ? 'secureConnect' : 'connect';
        // One of the pool has been connected before.
        if (outgoing.reusedSocket || !socket.connecting) {
          mayHaveArrived = true;
          return;
        }
        connecting = setTimeout(
          () => fail(timeout('No connection', connectTimeoutMs)),
          connectTimeoutMs,
        );
        socket.once(isReady, () => {
          clearTimeout(connecting);
          mayHaveArrived = true;
        });
      });
      outgoing.once('error', fail);
      outgoing.once('response', (incoming) => {
        readText(incoming).then((text) => {
          stopClocks();
          const header = (name: string): string | undefined => {
            const value = incoming.headers[name];
            return Array.isArray(value) ? value[0] : value;
          };
          resolve({ status: incoming.statusCode ?? 0, header, text });
        }, fail);
      });
      outgoing.end(body);
    });
  return {
    send,
    retire() {
      agent.maxFreeSockets = 0;
      for (const sockets of Object.values(agent.freeSockets)) {
        for (const socket of sockets ?? []) socket.destroy();
      }
    },
    close: () => agent.destroy(),
  };
}

/** A transport over somebody's own `fetch`; whether a request left is not known then. */
export function createFetchTransport(fetch: typeof globalThis.fetch): SendToGateway {
  return async ({ method, url, headers, body, timeoutMs, signal }) => {
    const ending = new AbortController();
    const abort = (): void => ending.abort(signal.reason);
    const total = setTimeout(() => ending.abort(timeout('No answer', timeoutMs)), timeoutMs);
    signal.addEventListener('abort', abort, { once: true });
    try {
      const response = await fetch(url.href, {
        method,
        headers,
        ...(body !== undefined && { body }),
        redirect: 'manual',
        signal: ending.signal,
      });
      const text = await response.text();
      return {
        status: response.status,
        header: (name) => response.headers.get(name) ?? undefined,
        text,
      };
    } catch (error) {
      throw new UnansweredError(error, true);
    } finally {
      clearTimeout(total);
      signal.removeEventListener('abort', abort);
    }
  };
}

async function readText(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > answerLimitBytes)
      throw new Error(`The answer is over ${answerLimitBytes} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function timeout(what: string, limitMs: number): Error {
  return new Error(`${what} within ${limitMs} ms.`);
}
