import type { IncomingMessage, ServerResponse } from 'node:http';
import { identifierPattern } from '../client/contract.ts';
import type { Clock } from '../platform/clock.ts';
import type { DebugRequests } from '../platform/config.ts';
import type { Tracer } from '../platform/tracer.ts';
import { loggedAddress } from './audited-requests.ts';
import type { Caller } from './caller.ts';
import type { Callers } from './callers.ts';
import type { FailedRead, GatewayBindings } from './gateway-env.ts';
import { requestEnding, requestIdOf } from './observe-requests.ts';
import type { RequestRecords } from './request-records.ts';
import type { TokenReads } from './token-reads.ts';
import {
  minTtlMaxSeconds,
  waitDefaultSeconds,
  waitMaxSeconds,
  type TokenAnswer,
  type TokenService,
} from './token-service.ts';
import { createTurnEnd } from './turn-end.ts';

const pathStart = '/v1/connections/';
const pathEnd = '/token';
const route = '/v1/connections/{id}/token';
/** A number that needs no second look; any other is for the app to judge. */
const plainNumberPattern = /^(?:0|[1-9]\d{0,8})$/;
/** A Host that is another is for whoever builds an address of it to judge. */
const plainHostPattern = /^[A-Za-z0-9.-]{1,255}(?::\d{1,5})?$/;

/**
 * Answers a request, or returns false and leaves it, untouched, to the app. With `leave` it does so later: that is
 * called with the failure that the app has to tell of.
 */
export type AnswerDirectly = (
  request: IncomingMessage,
  response: ServerResponse,
  bindings: GatewayBindings,
  leave: (failed: FailedRead) => void,
) => boolean;

/**
 * The read that callers make a million times, answered by Node's own request and response: `GET` of a token
 * with a plain query, of a caller who may have it, refreshed first where it must be. The rest, and whatever problem
 * there is to tell of, goes through the app, which answers this one alike.
 */
export function createDirectReads(dependencies: {
  tokenService: TokenService;
  callers: Callers;
  clock: Clock;
  tracer: Pick<Tracer, 'start'>;
  records: RequestRecords;
  reads: TokenReads;
  newRequestId: () => string;
  /** Requests that may be logged at length go through the app. */
  debugMode: DebugRequests;
}): AnswerDirectly {
  const { tokenService, callers, clock, tracer, newRequestId, reads, debugMode } = dependencies;
  const record = dependencies.records.of({ method: 'GET', route, status: 200, problem: undefined });
  const atTurnEnd = createTurnEnd();

  return (request, response, bindings, leave) => {
    const asked = readAsked(request);
    if (asked === undefined) return false;
    const { connectionId } = asked;
    const { headers } = request;
    if (debugMode === 'always') return false;
    if (debugMode === 'asked' && headers['x-debug-request'] !== undefined) return false;
    const caller = callerOf(callers, bindings, headers.authorization);
    if (caller === undefined) return false;

    const startedMs = clock.monotonicMs();
    const requestId = requestIdOf(textOf(headers['x-request-id'])) ?? newRequestId();
    const span = tracer.start('GET', { kind: 'server', parent: textOf(headers['traceparent']) });

    function answer(read: TokenAnswer): void {
      const body = read.text.at(read.now, read.refreshed);
      const responseBytes = read.text.bytesOf(body);
      reads.count(read.source);
      // Names and values in turn: Node takes these as they are.
      response.writeHead(200, [
        'X-Request-Id',
        requestId,
        'traceparent',
        span.traceparent,
        'Cache-Control',
        'no-store',
        'Content-Type',
        'application/json',
        'Content-Length',
        String(responseBytes),
      ]);
      // In ASCII the two are the same, and Node is quicker with this one.
      response.end(body, responseBytes === body.length ? 'latin1' : 'utf8');
      const durationSeconds = (clock.monotonicMs() - startedMs) / 1_000;
      const { traceId } = span;
      record({
        durationSeconds,
        requestBytes: 0,
        responseBytes,
        requestId,
        traceId,
        connectionId,
        audit: {
          appId: undefined,
          caller: caller?.name,
          subjects: undefined,
          clientAddress: loggedAddress(bindings),
        },
      });
      span.end(requestEnding({ method: 'GET', route, status: 200 }, requestId));
    }

    // Member by member, for what is spread into an object costs a read from memory a tenth of its time.
    const read = tokenService.readToken({
      connectionId,
      waitSeconds: asked.waitSeconds,
      minTtlSeconds: asked.minTtlSeconds,
      minTokenVersion: asked.minTokenVersion,
      visibleTo: caller.tenants,
      mayInsist: caller.scopes.has('tokens:refresh'),
      callerSignal: () => goneSignal(response),
      mayRefresh: true,
      mayTrail: true,
      memoryOnly: bindings.memoryOnly === true,
      traceparent: span.traceparent,
    });
    if (!(read instanceof Promise)) atTurnEnd(() => answer(read));
    else {
      void read.then(answer, (failure: unknown) => {
        leave({ failure, startedMs, requestId, span });
      });
    }
    return true;
  };
}

/** Aborted once nobody is there any more to read the answer. */
function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  return gone.signal;
}

interface Asked {
  connectionId: string;
  waitSeconds: number;
  minTtlSeconds: number | undefined;
  minTokenVersion: number | undefined;
}

/** Of a request that is nothing but a read; undefined for every other. */
function readAsked(request: IncomingMessage): Asked | undefined {
  const { method, url = '', headers } = request;
  if (method !== 'GET' || !url.startsWith(pathStart)) return undefined;
  const queryAt = url.indexOf('?');
  const path = queryAt === -1 ? url : url.slice(0, queryAt);
  if (!path.endsWith(pathEnd)) return undefined;
  const connectionId = path.slice(pathStart.length, -pathEnd.length);
  if (!identifierPattern.test(connectionId)) return undefined;
  if (headers.host === undefined || !plainHostPattern.test(headers.host)) return undefined;
  const hasBody =
    headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
  if (hasBody || headers.expect !== undefined) return undefined;
  const asked = {
    connectionId,
    waitSeconds: waitDefaultSeconds,
    minTtlSeconds: undefined,
    minTokenVersion: undefined,
  };
  return queryAt === -1 ? asked : readQuery(url.slice(queryAt + 1), asked);
}

/** Undefined for whatever the app has to judge: what is twice there, too large, unknown or written otherwise. */
function readQuery(query: string, asked: Asked): Asked | undefined {
  const names = new Set<string>();
  for (const part of query.split('&')) {
    const [name = '', value = ''] = part.split('=', 2);
    if (!plainNumberPattern.test(value) || part.length !== name.length + 1 + value.length) {
      return undefined;
    }
    if (names.has(name)) return undefined;
    names.add(name);
    const number = Number(value);
    if (name === 'wait_seconds' && number <= waitMaxSeconds) asked.waitSeconds = number;
    else if (name === 'min_ttl_seconds' && number <= minTtlMaxSeconds) asked.minTtlSeconds = number;
    else if (name === 'min_token_version') asked.minTokenVersion = number;
    else return undefined;
  }
  return asked;
}

/** Undefined for whoever the app will refuse. */
function callerOf(
  callers: Callers,
  { clientIdentity }: GatewayBindings,
  authorization: string | undefined,
): Caller | undefined {
  try {
    const caller = callers.identify({ clientIdentity, authorization });
    return caller.scopes.has('tokens:read') ? caller : undefined;
  } catch {
    return undefined;
  }
}

/** A header that comes twice is for the app to judge. */
function textOf(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : undefined;
}
