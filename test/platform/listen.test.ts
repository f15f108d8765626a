import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { listen } from '../../platform/listen.ts';

const callers = 1_500;

/** Client sockets to the port whose handshake the kernel has completed (state 01, ESTABLISHED). */
function countEstablished(port: number): number {
  const portHex = port.toString(16).toUpperCase().padStart(4, '0');
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote, state]) => remote?.endsWith(`:${portHex}`) && state === '01').length;
}

function systemAllows(): boolean {
  if (process.platform !== 'linux') return false;
  return Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8')) >= callers;
}

describe('listen', () => {
  it.runIf(systemAllows())(
    'takes a herd of callers before the process gets to accept',
    async () => {
      const server = createServer();
      const { port } = await listen(server, { host: '127.0.0.1', port: 0, setting: 'PORT' });
      const sockets = Array.from({ length: callers }, () => {
        const socket = connect({ host: '127.0.0.1', port });
        socket.on('error', () => undefined);
        return socket;
      });
      // Connecting begins in the ticks before this one, and accepting in a turn after it.
      const established = await new Promise<number>((resolve) => {
        process.nextTick(() => resolve(countEstablished(port)));
      });
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      expect(established).toBe(callers);
    },
  );

  it('says which setting to change when the port is taken', async () => {
    const first = createServer();
    const { port } = await listen(first, { host: '127.0.0.1', port: 0, setting: 'PORT' });
    await expect(
      listen(createServer(), { host: '127.0.0.1', port, setting: 'PORT' }),
    ).rejects.toThrow(`Port ${port} on 127.0.0.1 is in use: end what uses it, or set PORT`);
    first.close();
  });
});
