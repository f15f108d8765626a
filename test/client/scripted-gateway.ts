import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { problemKinds, type ProblemCode } from '../../client/contract.ts';
import { listenAtStablePort } from '../support/stable-port.ts';

export interface GatewayRequest {
  method: string;
  connectionId: string;
  query: Record<string, string>;
  headers: IncomingHttpHeaders;
  body: Record<string, unknown>;
}

export type ScriptedAnswer =
  | { token: Record<string, unknown> }
  | { problem: ProblemCode; retryAfterSeconds?: number; reason?: string }
  | { status: number; page: string }
  | 'reset'
  | 'hang';

/** A gateway that says what a test wants, over real sockets. */
export interface ScriptedGateway {
  origin: string;
  requests: GatewayRequest[];
  /** Connections that were opened. */
  connections(): number;
  answer(script: (request: GatewayRequest) => ScriptedAnswer | Promise<ScriptedAnswer>): void;
  /** Refuses connections, and breaks those that there are. */
  goAway(): Promise<void>;
  /** Listens again where it did; nothing if it is there. */
  comeBack(): Promise<void>;
  close(): Promise<void>;
}

export async function startScriptedGateway(tls?: ServerOptions): Promise<ScriptedGateway> {
  const requests: GatewayRequest[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  let script: (request: GatewayRequest) => ScriptedAnswer | Promise<ScriptedAnswer> = () => ({
    token: {},
  });
  const server = tls === undefined ? createServer() : createTlsServer(tls);
  server.on('request', (incoming, response) => {
    void (async () => {
      const url = new URL(incoming.url ?? '', 'http://gateway');
      const body = await text(incoming);
      const request = {
        method: incoming.method ?? '',
        connectionId: decodeURIComponent(url.pathname.split('/')[3] ?? ''),
        query: Object.fromEntries(url.searchParams),
        headers: incoming.headers,
        body: (body === '' ? {} : JSON.parse(body)) as Record<string, unknown>,
      };
      requests.push(request);
      send(response, await script(request), request);
    })();
  });
  server.on('connection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const listen = async (port: number): Promise<void> => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  };
  const port = await listenAtStablePort(listen);
  const goAway = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    server.close();
    if (server.listening) await once(server, 'close');
  };
  return {
    origin: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    requests,
    connections: () => connections,
    answer: (next) => (script = next),
    goAway,
    comeBack: () => (server.listening ? Promise.resolve() : listen(port)),
    close: goAway,
  };
}

function send(response: ServerResponse, answer: ScriptedAnswer, request: GatewayRequest): void {
  if (answer === 'hang') return;
  if (answer === 'reset') {
    response.socket?.resetAndDestroy();
  } else if ('token' in answer) {
    const { connectionId } = request;
    response.writeHead(200, { 'content-type': 'application/json' }).end(
      JSON.stringify({
        connection_id: connectionId,
        access_token: 'token-canary-1',
        token_type: 'Bearer',
        expires_at: '2026-11-23T20:00:00.000Z',
        expires_in: 1_800,
        scope: 'a b',
        token_version: 1,
        refreshed: false,
        connection_status: 'active',
        metadata: {},
        ...answer.token,
      }),
    );
  } else if ('page' in answer) {
    response.writeHead(answer.status, { 'content-type': 'text/html' }).end(answer.page);
  } else {
    const { status, retryable, remedy, summary } = problemKinds[answer.problem];
    const { retryAfterSeconds, reason } = answer;
    response
      .writeHead(status, {
        'content-type': 'application/problem+json',
        ...(retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }),
      })
      .end(
        JSON.stringify({
          type: `/problems/${answer.problem}`,
          code: answer.problem,
          status,
          retryable,
          remedy,
          detail: summary,
          request_id: 'request-1',
          connection_id: request.connectionId,
          ...(reason !== undefined && { reason }),
          ...(retryAfterSeconds !== undefined && { retry_after_seconds: retryAfterSeconds }),
        }),
      );
  }
}

/** A monotonic clock that a test can turn forward. */
export function createTurnableClock(): { nowMs: () => number; turn: (ms: number) => void } {
  let turnedMs = 0;
  return { nowMs: () => performance.now() + turnedMs, turn: (ms) => (turnedMs += ms) };
}
