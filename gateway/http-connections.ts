import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { GatewayBindings } from './gateway-env.ts';

/**
 * An idle connection of a draining server is left open so long for the request that may be on its way:
 * it is answered, with `Connection: close`.
 */
const lastRequestMs = 500;

interface HttpConnection {
  bindings: GatewayBindings;
  /** Under way, in the order of the requests. */
  responses: Set<ServerResponse>;
  idleSinceMs: number;
  /** Its client is to connect anew: every answer says `Connection: close`. */
  isLast: () => boolean;
}

/** The connections of a listener and the requests under way on them. */
export interface HttpConnections {
  /** With those whose TLS handshake is under way. */
  size(): number;
  /** A TCP connection on which a TLS handshake is to come; `add` with its TLS socket ends that. */
  addHandshake(socket: Socket): void;
  add(socket: Socket, facts: Pick<HttpConnection, 'bindings' | 'isLast'>): void;
  bindings(socket: Socket): GatewayBindings | undefined;
  /** Counts a request until its response is closed. Undefined for a connection that is not known any more. */
  begin(request: IncomingMessage, response: ServerResponse): GatewayBindings | undefined;
  /** Whether a response has begun, so that no other bytes may be written. */
  hasBegunResponse(socket: Socket): boolean;
  /** From now on every answer, also one that is under way, ends its connection. */
  drain(): void;
  /** While draining: ends connections that have had time for their last request. */
  endIdle(): void;
}

export function createHttpConnections(monotonicMs: () => number): HttpConnections {
  const connections = new Map<Socket, HttpConnection>();
  /** By the address of the peer, which is all that a TLS socket tells of its TCP connection. */
  const handshakes = new Map<string, Socket>();
  let drainingSinceMs: number | undefined;

  function addHandshake(socket: Socket): void {
    const peer = peerOf(socket);
    handshakes.set(peer, socket);
    socket.on('close', () => {
      if (handshakes.get(peer) === socket) handshakes.delete(peer);
    });
  }

  function add(socket: Socket, facts: Pick<HttpConnection, 'bindings' | 'isLast'>): void {
    handshakes.delete(peerOf(socket));
    connections.set(socket, { ...facts, responses: new Set(), idleSinceMs: monotonicMs() });
    socket.on('close', () => connections.delete(socket));
  }

  function begin({ socket }: IncomingMessage, response: ServerResponse) {
    const connection = connections.get(socket);
    if (connection === undefined) return undefined;
    connection.responses.add(response);
    if (drainingSinceMs !== undefined || connection.isLast()) endAfter(response);
    response.on('close', () => {
      connection.responses.delete(response);
      connection.idleSinceMs = monotonicMs();
    });
    return connection.bindings;
  }

  return {
    size: () => connections.size + handshakes.size,
    addHandshake,
    add,
    begin,
    bindings: (socket) => connections.get(socket)?.bindings,
    hasBegunResponse(socket) {
      const [response] = connections.get(socket)?.responses ?? [];
      return response?.headersSent === true;
    },
    drain() {
      drainingSinceMs = monotonicMs();
      for (const { responses } of connections.values()) {
        for (const response of responses) if (!response.headersSent) endAfter(response);
      }
    },
    endIdle() {
      const now = monotonicMs();
      if (drainingSinceMs === undefined) return;
      if (now - drainingSinceMs >= lastRequestMs) {
        for (const socket of handshakes.values()) socket.destroy();
      }
      for (const [socket, { responses, idleSinceMs }] of connections) {
        const idleMs = now - Math.max(idleSinceMs, drainingSinceMs);
        if (responses.size === 0 && idleMs >= lastRequestMs) socket.destroy();
      }
    },
  };
}

function peerOf(socket: Socket): string {
  return `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`;
}

function endAfter(response: ServerResponse): void {
  response.setHeader('Connection', 'close');
}
