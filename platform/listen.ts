import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * Connections that the kernel keeps until the process accepts them, where the system allows as many.
 * Node's own 511 are too few when thousands of callers come in one turn: the rest waits for seconds,
 * and part of it is reset.
 */
const backlogConnections = 4_096;

/**
 * Listens, and returns the address in use, which names the port chosen for port 0. Rejects with a
 * sentence that says which setting to change when the port is taken or may not be used.
 */
export function listen(
  server: Server,
  address: { host: string; port: number; setting: string },
): Promise<AddressInfo> {
  const { host, port, setting } = address;
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => reject(explain(error, address));
    server.once('error', fail);
    server.listen({ host, port, backlog: backlogConnections }, () => {
      server.off('error', fail);
      const used = server.address();
      if (used === null || typeof used === 'string') {
        reject(new Error(`${setting}: ${host}:${port} gave no TCP address.`));
      } else resolve(used);
    });
  });
}

function explain(
  error: NodeJS.ErrnoException,
  { host, port, setting }: { host: string; port: number; setting: string },
): Error {
  const where = `Port ${port} on ${host}`;
  if (error.code === 'EADDRINUSE') {
    return new Error(`${where} is in use: end what uses it, or set ${setting} to a free port.`, {
      cause: error,
    });
  }
  if (error.code === 'EACCES') {
    return new Error(`${where} may not be used by this user: set ${setting} above 1023.`, {
      cause: error,
    });
  }
  return new Error(`${where} cannot be listened on (${error.code ?? error.message}).`, {
    cause: error,
  });
}
