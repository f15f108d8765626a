import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

import { SetupError } from './setup-error.ts';

const loopback = '127.0.0.1';

/**
 * Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections: one of
 * those may be taken by any connection between the look here and the start of the server it is for.
 */
const firstPort = 12_000;
const endPort = 32_768;
const attempts = 100;

/** A port on 127.0.0.1 that was free a moment ago, and that no outgoing connection takes. */
export async function findFreePort(): Promise<number> {
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const port = randomInt(firstPort, endPort);
    const server = createServer();
    try {
      server.listen(port, loopback);
      await once(server, 'listening');
    } catch {
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new SetupError(
    `No port is free: ${attempts} between ${firstPort} and ${endPort - 1} were tried.`,
  );
}

/** Throws SetupError when something listens on the port; `setting` is where to choose another. */
export async function assertPortIsFree(port: number, what: string, setting: string): Promise<void> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, loopback, resolve);
    });
  } catch (cause) {
    throw new SetupError(
      `Port ${port}, which ${what} needs, is in use or may not be opened. ` +
        `Stop what listens there, or choose another port: ${setting}.`,
      { cause },
    );
  }
  server.close();
  await once(server, 'close');
}

/** Does something on 127.0.0.1 accept connections at this port? */
export async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, loopback);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
