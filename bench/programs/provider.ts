import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serveCalls } from '../child-calls.ts';

/*
 * A token endpoint that costs next to nothing: it rotates every refresh token it gets, and counts.
 */

const tokenBytes = 48;

export interface Provider {
  tokenUrl(): Promise<string>;
  /** From now on. Starts the counts anew. */
  behave(options: { delayMs: number; expiresInSeconds: number }): Promise<void>;
  /** Since it was told how to behave. */
  counts(): Promise<{ exchanges: number; reused: number }>;
}

const behaviour = { delayMs: 0, expiresInSeconds: 3_600 };
const counted = { exchanges: 0, reused: 0 };
const spent = new Set<string>();

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const form = new URLSearchParams(Buffer.concat(chunks).toString());
    const refreshToken = form.get('refresh_token') ?? '';
    counted.exchanges += 1;
    if (spent.has(refreshToken)) counted.reused += 1;
    spent.add(refreshToken);
    const answer = () => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          access_token: newToken(),
          refresh_token: newToken(),
          token_type: 'Bearer',
          expires_in: behaviour.expiresInSeconds,
        }),
      );
    };
    if (behaviour.delayMs === 0) answer();
    else setTimeout(answer, behaviour.delayMs);
  });
});

function newToken(): string {
  return randomBytes(tokenBytes).toString('base64url');
}

const methods: Provider = {
  tokenUrl: () =>
    Promise.resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}/token`),
  behave(options) {
    Object.assign(behaviour, options);
    Object.assign(counted, { exchanges: 0, reused: 0 });
    return Promise.resolve();
  },
  counts: () => Promise.resolve(counted),
};

server.listen(0, '127.0.0.1', () => serveCalls({ ...methods }));
