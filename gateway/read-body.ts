import { createMiddleware } from 'hono/factory';
import { TokenManagerError } from '../client/contract.ts';
import { outlineBody } from './debug-requests.ts';
import type { GatewayEnv } from './gateway-env.ts';
import { bodyFault } from './problem.ts';

export const bodyMaxBytes = 1_048_576;
const charsetPattern = /^\s*charset\s*=\s*"?([^"\s]*)"?\s*$/;

/** What the routes that take a body refuse with 415; the others never look at one. */
const notJson = 'application/octet-stream';

/**
 * Reads the body before any route looks at it: at most 1 MiB, whether it has a Content-Length or comes
 * in chunks, and UTF-8. An empty body is no body, whatever its Content-Type says.
 */
export const readBody = createMiddleware<GatewayEnv>(async function readBody(c, next) {
  if (c.req.method === 'GET' || c.req.method === 'HEAD') return next();
  if (Number(c.req.header('Content-Length') ?? 0) > bodyMaxBytes) throw tooLarge();
  const { body } = c.req.raw;
  if (body === null) return next();

  const text = await readText(body);
  const sizeBytes = Buffer.byteLength(text);
  c.set('requestBytes', sizeBytes);
  const debug = c.get('debug');
  if (debug !== undefined && sizeBytes > 0) debug.body = outlineBody(text);
  const headers = new Headers(c.req.raw.headers);
  if (sizeBytes === 0) headers.delete('Content-Type');
  else headers.set('Content-Type', isJson(headers) ? 'application/json' : notJson);
  c.req.raw = new Request(c.req.url, {
    method: c.req.method,
    headers,
    signal: c.req.raw.signal,
    ...(sizeBytes > 0 && { body: text }),
  });
  return next();
});

/** JSON by its name alone, in UTF-8; other parameters mean nothing to it (RFC 8259 section 11). */
function isJson(headers: Headers): boolean {
  const [type = '', ...parameters] = (headers.get('Content-Type') ?? '').toLowerCase().split(';');
  const charset = parameters.map((parameter) => charsetPattern.exec(parameter)?.[1]);
  return (
    type.trim() === 'application/json' &&
    charset.every((name) => name === undefined || name === 'utf-8' || name === 'utf8')
  );
}

async function readText(body: ReadableStream<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  try {
    for await (const chunk of body) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > bodyMaxBytes) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    // The caller hung up before the body was whole; this is for the log, nobody reads it.
    throw error instanceof TokenManagerError ? error : new TokenManagerError('request_timeout');
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw bodyFault('is not UTF-8');
  }
}

function tooLarge(): TokenManagerError {
  return new TokenManagerError('request_too_large', {
    detail: `The body is larger than ${bodyMaxBytes} bytes.`,
  });
}
