import { assertOrigins, type AllowedOrigins } from './api-fetch.ts';
import { notify } from './ask-gateway.ts';
import { inputError } from './client-errors.ts';
import type { ClientHooks } from './client-hooks.ts';
import {
  createFetchTransport,
  createNodeTransport,
  type SendToGateway,
} from './gateway-transport.ts';
import { createTlsTransport, type TlsFiles } from './tls-files.ts';

export interface TokenManagerClientOptions {
  /** Where the gateway is, such as `https://tokens.internal:8080`; a path is put before the routes. */
  baseUrl: string | URL;
  /**
   * The bearer key of this caller; not with mutual TLS. A function is asked for each request, so a key can be
   * replaced without a restart.
   */
  key?: string | (() => string | Promise<string>);
  /** Certificates from files, for an `https` baseUrl. Changed files are used within 2 s. */
  tls?: TlsFiles;
  /** 0 to 300, default 5: how long a token is handed out from memory. 0: the service is asked each time. */
  cacheSeconds?: number;
  /** Default 10,000: connections whose tokens are held; the longest unused go first. */
  maxConnections?: number;
  /** 1,000 to 300,000, default 30,000: the most that a call takes, retries included. */
  deadlineMs?: number;
  /** 0 to 60, default 10: how long the service may let one request wait for a refresh. */
  waitSeconds?: number;
  /**
   * Origins that `fetch` may send tokens to, such as `https://api.hubapi.com`, for all connections or by
   * connection. https only; `http` of loopback works for tests if it is named here. Default: none but the
   * origin of the connection's `metadata.instance_url`.
   */
  allowedOrigins?: AllowedOrigins;
  /** Takes the place of Node's `http` and `https` for requests to the gateway; not with `tls`. */
  fetch?: typeof globalThis.fetch;
  /** Takes the place of the global `fetch` for requests to APIs. It must redirect as the Fetch Standard says. */
  apiFetch?: typeof globalThis.fetch;
  hooks?: ClientHooks;
}

/** Time and chance. For tests. */
export interface ClientSurroundings {
  /** Monotonic milliseconds. Default: `performance.now()`. */
  nowMs: () => number;
  /** From 0 to below 1. */
  random: () => number;
}

/** Options with their defaults. Throws `input_validation`. */
export function readOptions(
  options: TokenManagerClientOptions,
  { nowMs = () => performance.now(), random = Math.random }: Partial<ClientSurroundings> = {},
) {
  const { key, allowedOrigins = [], apiFetch = globalThis.fetch, hooks = {} } = options;
  const baseUrl = parseBaseUrl(options.baseUrl);
  if (typeof allowedOrigins !== 'function') assertOrigins(allowedOrigins);
  const { send, close } = createTransport(options, baseUrl, { nowMs, hooks });
  return {
    baseUrl,
    send,
    closeTransport: close,
    key: typeof key === 'string' ? () => key : key,
    cacheSeconds: inRange('cacheSeconds', options.cacheSeconds ?? 5, 0, 300),
    maxConnections: inRange('maxConnections', options.maxConnections ?? 10_000, 1, 1_000_000),
    deadlineMs: inRange('deadlineMs', options.deadlineMs ?? 30_000, 1_000, 300_000),
    waitSeconds: Math.floor(inRange('waitSeconds', options.waitSeconds ?? 10, 0, 60)),
    allowedOrigins,
    apiFetch,
    hooks,
    nowMs,
    random,
  };
}

function createTransport(
  { tls, fetch }: TokenManagerClientOptions,
  { protocol }: URL,
  { nowMs, hooks }: { nowMs: () => number; hooks: ClientHooks },
): { send: SendToGateway; close: () => void } {
  if (tls === undefined) {
    return fetch === undefined
      ? createNodeTransport(protocol === 'https:' ? 'https:' : 'http:')
      : { send: createFetchTransport(fetch), close: () => undefined };
  }
  if (fetch !== undefined)
    throw inputError('tls', 'is not for a fetch of your own; give it to that');
  if (protocol !== 'https:') throw inputError('tls', 'needs a baseUrl that begins with https:');
  if ((tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    throw inputError('tls', 'needs certFile and keyFile, or neither');
  }
  return createTlsTransport(tls, {
    nowMs,
    onReload: (error) => notify(() => hooks.onTlsReload?.(error)),
  });
}

function parseBaseUrl(baseUrl: string | URL): URL {
  const text = String(baseUrl);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw inputError('baseUrl', 'is not an http or https URL');
  }
  if (url.username !== '' || url.search !== '' || url.hash !== '') {
    throw inputError('baseUrl', 'is more than scheme, host, port and path; a key goes into key');
  }
  // Relative routes replace what follows the last slash.
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

function inRange(name: string, value: number, least: number, most: number): number {
  if (value >= least && value <= most) return value;
  throw inputError(name, `is not from ${least} to ${most}`);
}
