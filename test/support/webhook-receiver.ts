import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { Webhook } from 'standardwebhooks';

/** What a receiver does with a delivery instead of taking it. */
export type Refusal = 'refuse' | 'hang' | 'take';

export interface WebhookReceiver {
  url: string;
  /** Deliveries taken by event id, and those whose signature did not verify. */
  taken: Map<string, number>;
  forged: number;
  requests: number;
  close(): Promise<void>;
}

/** An endpoint that verifies by the library that its users have. `decide` gets the number of the request. */
export async function startWebhookReceiver(options: {
  secret: string;
  port?: number;
  decide?: (request: number, eventId: string) => Refusal;
}): Promise<WebhookReceiver> {
  const verifier = new Webhook(options.secret);
  const receiver: WebhookReceiver = {
    url: '',
    taken: new Map(),
    forged: 0,
    requests: 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };

  async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request);
    receiver.requests += 1;
    const id = String(request.headers['webhook-id']);
    try {
      verifier.verify(body, {
        'webhook-id': id,
        'webhook-timestamp': String(request.headers['webhook-timestamp']),
        'webhook-signature': String(request.headers['webhook-signature']),
      });
    } catch {
      receiver.forged += 1;
      response.writeHead(401).end();
      return;
    }
    const decision = options.decide?.(receiver.requests, id) ?? 'take';
    if (decision === 'hang') return;
    if (decision === 'take') receiver.taken.set(id, (receiver.taken.get(id) ?? 0) + 1);
    response.writeHead(decision === 'take' ? 204 : 500).end();
  }

  const server = createServer((request, response) => {
    receive(request, response).catch(() => response.destroy());
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  receiver.url = `http://127.0.0.1:${port}/hook`;
  return receiver;
}
