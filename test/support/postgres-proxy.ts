import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** `before`: the statement never arrives. `after`: it is carried out, and its answer is lost. */
export type CutMoment = 'before' | 'after';

export interface PostgresProxy {
  /** The upstream's URL with this proxy's port. */
  url: string;
  /**
   * PostgreSQL is away for `forMs` from the next statement of this name on: every connection breaks, and
   * new ones are refused. Resolves when the statement has come by.
   */
  cutAt(statementName: string, moment: CutMoment, forMs: number): Promise<void>;
  close(): Promise<void>;
}

interface Cut {
  /** The name as it stands in the messages of the protocol, with its terminating zero. */
  mark: Buffer;
  moment: CutMoment;
  forMs: number;
  onMet: () => void;
}

/** A TCP proxy that takes PostgreSQL away at an exact statement, known by its prepared name. */
export async function startPostgresProxy(upstreamUrl: string): Promise<PostgresProxy> {
  const upstream = new URL(upstreamUrl);
  const sockets = new Set<Socket>();
  let cut: Cut | undefined;
  let isAway = false;

  function takeAway({ forMs, onMet }: Cut): void {
    isAway = true;
    cut = undefined;
    for (const socket of sockets) socket.destroy();
    setTimeout(() => {
      isAway = false;
    }, forMs);
    onMet();
  }

  const server = createServer((client) => {
    if (isAway) {
      client.destroy();
      return;
    }
    const database = connect(Number(upstream.port), upstream.hostname);
    let isLosingAnswer: Cut | undefined;
    for (const socket of [client, database]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        database.destroy();
      });
    }
    client.on('data', (chunk) => {
      if (cut !== undefined && chunk.includes(cut.mark)) {
        if (cut.moment === 'before') {
          takeAway(cut);
          return;
        }
        isLosingAnswer = cut;
        cut = undefined;
      }
      database.write(chunk);
    });
    database.on('data', (chunk) => {
      if (isLosingAnswer === undefined) client.write(chunk);
      else takeAway(isLosingAnswer);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(upstreamUrl);
  url.port = String((server.address() as AddressInfo).port);

  return {
    url: url.href,
    cutAt: (statementName, moment, forMs) =>
      new Promise((resolve) => {
        cut = { mark: Buffer.from(`${statementName}\0`), moment, forMs, onMet: resolve };
      }),
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
