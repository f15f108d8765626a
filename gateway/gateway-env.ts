import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { Span } from '../platform/tracer.ts';
import type { ProblemCode } from '../client/contract.ts';
import type { Caller } from './caller.ts';
import type { DebugRecord } from './debug-requests.ts';

/** Who a client certificate, accepted in the TLS handshake, says is there. */
export interface ClientIdentity {
  /** Its subject alternative names, else its CN, typed: `uri:…`, `dns:…`, `cn:…`. */
  subjects: string[];
}

/** What is known of the connection that a request came on. */
export interface GatewayBindings {
  /**
   * Null without client certificates, TLS_MODE other than `mtls`. The same object for every request of
   * a connection: whom it stands for is looked up once for each.
   */
  clientIdentity: ClientIdentity | null;
  /** Address of the peer; absent in tests without a socket. */
  clientAddress?: string | undefined;
  /** There are too many connections, and this one gets only what memory answers. */
  memoryOnly?: boolean;
  /** The token was asked for before the app was. */
  failedRead?: FailedRead;
}

/** A read of a token that began before the app was asked: why there is none, not to be tried again. */
export interface FailedRead {
  failure: unknown;
  startedMs: number;
  requestId: string;
  span: Span;
}

/** What one request carries from its middleware to its handler and back. */
interface GatewayVariables {
  requestId: string;
  span: Span;
  /** Set on every route that is not public; `callerOf` reads it. */
  caller?: Caller;
  /** Set once the path's id has been checked; for the log and for problems. */
  connectionId?: string;
  /** The same, for the audit. */
  appId?: string;
  problem?: ProblemCode;
  /** Only of a request that is logged at length. */
  debug?: DebugRecord;
  requestBytes?: number;
  responseBytes?: number;
}

export interface GatewayEnv {
  Bindings: GatewayBindings;
  Variables: GatewayVariables;
}

export type GatewayApp = OpenAPIHono<GatewayEnv>;
export type GatewayContext = Context<GatewayEnv>;

/** There are too many connections, and this one gets only what memory answers. */
export function isMemoryOnly(c: GatewayContext): boolean {
  return bindingsOf(c).memoryOnly === true;
}

const noSocket: GatewayBindings = { clientIdentity: null };

/** Throws what a read that was tried before the app failed with. */
export function assertReadable(c: GatewayContext): void {
  const { failedRead } = bindingsOf(c);
  if (failedRead !== undefined) throw failedRead.failure as Error;
}

/** What came with the request; `app.request` without a socket brings nothing. */
export function bindingsOf({ env = noSocket }: { env?: GatewayBindings }): GatewayBindings {
  return env;
}
