import { once } from 'node:events';
import { connect, createServer } from 'node:net';

import { SetupError } from './setup-error.ts';

const loopback = '127.0.0.1';

/** A port on 127.0.0.1 that was free a moment ago. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, loopback);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new SetupError('No port is free.');
  return address.port;
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
