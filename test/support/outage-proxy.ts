import { once } from 'node:events';
import { Agent, createServer, request as sendHttp } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/**
 * A proxy in front of a gateway that can be away and still count who comes: connections are taken and reset at
 * once then. A port where nobody listens would count nothing.
 */
export interface OutageProxy {
  origin: string;
  /** When each request arrived, or while away each connection: a request that found nobody. */
  arrivalsMs: number[];
  setAway(isAway: boolean): void;
  close(): void;
}

export async function startOutageProxy(upstreamOrigin: string): Promise<OutageProxy> {
  const { hostname, port } = new URL(upstreamOrigin);
  const agent = new Agent({ keepAlive: true });
  const sockets = new Set<Socket>();
  const arrivalsMs: number[] = [];
  let isAway = false;

  const server = createServer({ keepAliveTimeout: 65_000 }, (incoming, response) => {
    arrivalsMs.push(performance.now());
    const { method, url, headers } = incoming;
    const outgoing = sendHttp({ agent, hostname, port, method, path: url, headers });
    outgoing.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    outgoing.on('error', () => response.socket?.destroy());
    incoming.pipe(outgoing);
  });
  server.on('connection', (socket) => {
    socket.on('error', () => undefined);
    if (isAway) {
      arrivalsMs.push(performance.now());
      socket.resetAndDestroy();
      return;
    }
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 2_048 });
  await once(server, 'listening');

  const resetAll = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrivalsMs,
    setAway(away) {
      isAway = away;
      if (away) resetAll();
    },
    close() {
      resetAll();
      agent.destroy();
      server.close();
    },
  };
}
