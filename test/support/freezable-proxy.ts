import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A TCP proxy in front of PostgreSQL that can stop without a word, as a lost host does. */
export interface FreezableProxy {
  /** The upstream's URL with this proxy's port. */
  url: string;
  /** From now on nothing goes through, and no connection ends. */
  freeze(): void;
  /** New connections work again; what was frozen stays dead. */
  thaw(): void;
  close(): Promise<void>;
}

export async function startFreezableProxy(upstreamUrl: string): Promise<FreezableProxy> {
  const upstream = new URL(upstreamUrl);
  const sockets = new Set<Socket>();
  let isFrozen = false;
  const server = createServer((client) => {
    sockets.add(client);
    client.on('error', () => undefined);
    if (isFrozen) return;
    const database = connect(Number(upstream.port), upstream.hostname);
    sockets.add(database);
    let isDead = false;
    const pass = (to: Socket) => (chunk: Buffer) => {
      isDead ||= isFrozen;
      if (!isDead) to.write(chunk);
    };
    client.on('data', pass(database));
    database.on('data', pass(client));
    database.on('error', () => client.destroy());
    client.on('close', () => database.destroy());
    database.on('close', () => isDead || isFrozen || client.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(upstreamUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    freeze() {
      isFrozen = true;
    },
    thaw() {
      isFrozen = false;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
