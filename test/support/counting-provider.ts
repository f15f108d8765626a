import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface CountedSend {
  /** The client of the app that sent. */
  clientId: string;
  refreshToken: string;
  atMs: number;
}

/** A token endpoint that rotates every refresh token it gets, and remembers what came when. */
export interface CountingProvider {
  url: string;
  sends: CountedSend[];
  sendsOf(refreshToken: string): number;
  /** What it answers to this refresh token from now on, in place of new tokens. */
  script(refreshToken: string, respond: (response: ServerResponse) => void): void;
  /** Most requests of one client that were open at once. */
  openMax(clientId: string): number;
  close(): Promise<void>;
}

export async function startCountingProvider(options: {
  answerMs: number;
  expiresInSeconds: number;
}): Promise<CountingProvider> {
  const { answerMs, expiresInSeconds } = options;
  const scripted = new Map<string, (response: ServerResponse) => void>();
  const sends: CountedSend[] = [];
  const open = new Map<string, { now: number; max: number }>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const params = new URLSearchParams(Buffer.concat(chunks).toString());
      const clientId = params.get('client_id') ?? '';
      const refreshToken = params.get('refresh_token') ?? '';
      sends.push({ clientId, refreshToken, atMs: performance.now() });
      const ofClient = open.get(clientId) ?? { now: 0, max: 0 };
      open.set(clientId, ofClient);
      ofClient.now += 1;
      ofClient.max = Math.max(ofClient.max, ofClient.now);
      setTimeout(() => {
        ofClient.now -= 1;
        const respond = scripted.get(refreshToken);
        if (respond !== undefined) respond(response);
        else answerTokens(response, { expires_in: expiresInSeconds });
      }, answerMs);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    sends,
    sendsOf: (refreshToken) => sends.filter((sent) => sent.refreshToken === refreshToken).length,
    script(refreshToken, respond) {
      scripted.set(refreshToken, respond);
    },
    openMax: (clientId) => open.get(clientId)?.max ?? 0,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** New tokens, with these members beside them or in their place. */
export function answerTokens(response: ServerResponse, members: object): void {
  const tokens = { access_token: `at-${randomUUID()}`, refresh_token: `rt-${randomUUID()}` };
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ ...tokens, ...members }));
}

export function answerError(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
