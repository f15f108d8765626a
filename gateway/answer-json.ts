import type { Context, TypedResponse } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { JSONParsed } from 'hono/utils/types';
import type { GatewayEnv } from './gateway-env.ts';

/** `c.json`, and the size of the answer for the metrics without writing it a second time. */
export function answerJson<
  Body extends object,
  Status extends ContentfulStatusCode,
  Env extends GatewayEnv,
>(
  c: Context<Env>,
  body: Body,
  status: Status,
): Response & TypedResponse<JSONParsed<Body>, Status, 'json'> {
  return answerText<Body, Status, Env>(c, JSON.stringify(body), status);
}

/** The same with a body that is written already. */
export function answerText<
  Body extends object,
  Status extends ContentfulStatusCode,
  Env extends GatewayEnv,
>(
  c: Context<Env>,
  text: string,
  status: Status,
): Response & TypedResponse<JSONParsed<Body>, Status, 'json'> {
  c.set('responseBytes', Buffer.byteLength(text));
  const response: Response = c.body(text, status, { 'Content-Type': 'application/json' });
  // TypedResponse is a phantom: it tells the route's schema what `text` was written from.
  return response as Response & TypedResponse<JSONParsed<Body>, Status, 'json'>;
}
