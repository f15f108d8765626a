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
  /** In the order of the requests; those that are closed are taken out when the next comes. */
  responses: ServerResponse[];
  /** While draining: when it was first seen without a request. */
  idleSinceMs: number | undefined;
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
    connections.set(socket, { ...facts, responses: [], idleSinceMs: undefined });
    socket.on('close', () => connections.delete(socket));
  }

  function begin({ socket }: IncomingMessage, response: ServerResponse) {
    const connection = connections.get(socket);
    if (connection === undefined) return undefined;
    // Not told by their `close`: a listener for each costs more than all else here.
    forgetClosed(connection.responses);
    connection.responses.push(response);
    connection.idleSinceMs = undefined;
    if (drainingSinceMs !== undefined || connection.isLast()) endAfter(response);
    return connection.bindings;
  }

  return {
    size: () => connections.size + handshakes.size,
    addHandshake,
    add,
    begin,
    bindings: (socket) => connections.get(socket)?.bindings,
    hasBegunResponse(socket) {
      const response = connections.get(socket)?.responses.find(isOpen);
      return response?.headersSent === true;
    },
    drain() {
      drainingSinceMs = monotonicMs();
      for (const { responses } of connections.values()) {
        for (const response of responses) {
          if (isOpen(response) && !response.headersSent) endAfter(response);
        }
      }
    },
    endIdle() {
      const now = monotonicMs();
      if (drainingSinceMs === undefined) return;
      if (now - drainingSinceMs >= lastRequestMs) {
        for (const socket of handshakes.values()) socket.destroy();
      }
      for (const [socket, connection] of connections) {
        if (connection.responses.some(isOpen)) continue;
        connection.idleSinceMs ??= now;
        if (now - connection.idleSinceMs >= lastRequestMs) socket.destroy();
      }
    },
  };
}

function peerOf(socket: Socket): string {
  return `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`;
}

function isOpen(response: ServerResponse): boolean {
  return !response.destroyed;
}

function forgetClosed(responses: ServerResponse[]): void {
  while (responses[0]?.destroyed === true) responses.shift();
}

function endAfter(response: ServerResponse): void {
  response.setHeader('Connection', 'close');
}
