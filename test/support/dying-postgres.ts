import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';

export interface DyingPostgres {
  /** The upstream's URL with this proxy's port. */
  url: string;
  /** The connection that gets the answer of this number, counted from now on over all of them, ends with it. */
  dieAfterAnswer(number: number): void;
  close(): Promise<void>;
}

/** ReadyForQuery, which ends each answer: type, length, transaction status (which is left out). */
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5]);

function errorResponse(fields: Record<string, string>): Buffer {
  const body = Buffer.from(
    `${Object.entries(fields)
      .map(([type, text]) => `${type}${text}\0`)
      .join('')}\0`,
  );
  const header = Buffer.alloc(5);
  header.write('E');
  header.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([header, body]);
}

/** What a server process says when the server has been killed. */
const farewell = errorResponse({
  S: 'FATAL',
  V: 'FATAL',
  C: '57P01',
  M: 'terminating connection due to unexpected postmaster exit',
});

/**
 * A TCP proxy before PostgreSQL that ends a connection as the death of the server does, right behind an
 * answer: the farewell is read while the client has no query under way.
 */
export async function startDyingPostgres(upstreamUrl: string): Promise<DyingPostgres> {
  const upstream = new URL(upstreamUrl);
  let answersLeft = Infinity;
  const server = createServer((client) => {
    const database = connect(Number(upstream.port), upstream.hostname);
    const end = (): void => {
      client.destroy();
      database.destroy();
    };
    for (const socket of [client, database]) socket.on('error', end).on('close', end);
    client.on('data', (chunk) => database.write(chunk));
    database.on('data', (chunk) => {
      const isAnswer = chunk.subarray(-6, -1).equals(readyForQuery);
      if (isAnswer) answersLeft -= 1;
      if (!isAnswer || answersLeft !== 0) {
        client.write(chunk);
        return;
      }
      client.end(Buffer.concat([chunk, farewell]));
      database.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(upstreamUrl);
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    dieAfterAnswer(number) {
      answersLeft = number;
    },
    async close() {
      server.close();
      await once(server, 'close');
    },
  };
}
