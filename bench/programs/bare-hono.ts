import { createServer as createTlsServer } from 'node:https';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { programArgument, serveCalls } from '../child-calls.ts';

/*
 * The limit of a hot read: Hono with one route and an answer that is always the same.
 */

export interface BareHonoOptions {
  port: number;
  /** Of the answer's body. */
  bytes: number;
  /** PEM; absent: plain HTTP. */
  tls?: { cert: string; key: string };
}

const { port, bytes, tls } = programArgument() as BareHonoOptions;
const body = JSON.stringify({ filler: 'x'.repeat(bytes - JSON.stringify({ filler: '' }).length) });
const app = new Hono();
app.get('/v1/connections/:id/token', (c) =>
  c.body(body, 200, { 'Content-Type': 'application/json' }),
);
serve(
  {
    fetch: app.fetch,
    port,
    hostname: '127.0.0.1',
    ...(tls !== undefined && { createServer: createTlsServer, serverOptions: tls }),
  },
  () => serveCalls({}),
);
