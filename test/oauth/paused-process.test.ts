import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createEgressGuard, parseEgressAllow } from '../../oauth/egress.ts';
import { createTokenEndpoint } from '../../oauth/token-endpoint.ts';
import { systemClock } from '../../platform/clock.ts';
import { Secret } from '../../platform/secret.ts';
import { defineProvider, noKeys } from './definitions.ts';

/** An endpoint in a thread of its own: it answers although this thread stands still. */
const endpointCode = `
  const { createServer } = require('node:http');
  const { parentPort } = require('node:worker_threads');
  const body = JSON.stringify({ access_token: 'at', refresh_token: 'rt', filler: 'x'.repeat(300_000) });
  const server = createServer((request, response) => {
    request.resume().on('end', () => setTimeout(() => response.end(body), 50));
  });
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
`;

let endpoint: Worker;
let port: number;

beforeAll(async () => {
  endpoint = new Worker(endpointCode, { eval: true });
  [port] = (await once(endpoint, 'message')) as [number];
});
afterAll(() => endpoint.terminate());

test('an answer that came while the process was paused beyond its deadline is read', async () => {
  const tokens = createTokenEndpoint({
    egress: createEgressGuard({
      allow: parseEgressAllow('127.0.0.1'),
      lookup: () => Promise.resolve([]),
    }),
    clock: systemClock,
    randomUuid: () => 'uuid',
  });
  const opened = await tokens.connect({
    definition: defineProvider({
      token_url: `http://127.0.0.1:${port}/token`,
      client_auth: 'none',
    }),
    variables: {},
    clientId: 'client',
    clientSecret: null,
    ...noKeys,
    credential: new Secret('rt'),
    scope: null,
  });
  if ('kind' in opened) throw new Error(opened.code);
  const answer = opened.send({ mayStillSend: () => true, deadlineMs: 200 });
  // The request is out; then the whole thread stands still until long after the deadline.
  await sleep(20);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
  expect((await answer).kind).toBe('answer');
});
