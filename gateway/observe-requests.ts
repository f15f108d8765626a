import { createMiddleware } from 'hono/factory';
import type { Clock } from '../platform/clock.ts';
import type { HttpLabels } from '../platform/metrics.ts';
import type { Tracer } from '../platform/tracer.ts';
import { auditOf } from './audited-requests.ts';
import { bindingsOf, type GatewayEnv } from './gateway-env.ts';
import type { RequestRecords } from './request-records.ts';
import { routeTemplate } from './route-template.ts';

/** A caller's own request id is taken over when it is no longer than this and plainly printable. */
const requestIdPattern = /^[A-Za-z0-9._~:+/=@-]{1,128}$/;

const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']);

interface ObserverDependencies {
  clock: Clock;
  records: RequestRecords;
  tracer: Pick<Tracer, 'start'>;
  newRequestId: () => string;
}

/** Gives every request its id and its span, and records it. */
export function observeRequests(dependencies: ObserverDependencies) {
  const { clock, records, tracer, newRequestId } = dependencies;
  return createMiddleware<GatewayEnv>(async function observeRequests(c, next) {
    const { failedRead } = bindingsOf(c);
    const startedMs = failedRead?.startedMs ?? clock.monotonicMs();
    const requestId =
      failedRead?.requestId ?? requestIdOf(c.req.header('X-Request-Id')) ?? newRequestId();
    c.set('requestId', requestId);
    c.header('X-Request-Id', requestId);
    const span =
      failedRead?.span ??
      tracer.start(c.req.method, { kind: 'server', parent: c.req.header('traceparent') });
    c.set('span', span);
    c.header('traceparent', span.traceparent);
    // Everything here is a token or describes one's state: no cache on the way may keep it.
    c.header('Cache-Control', 'no-store');

    await next();

    const durationSeconds = (clock.monotonicMs() - startedMs) / 1_000;
    const request = {
      method: knownMethods.has(c.req.method) ? c.req.method : 'OTHER',
      route: routeTemplate(c),
      status: c.res.status,
    };
    records.of({ ...request, problem: c.get('problem') })({
      durationSeconds,
      requestBytes: c.get('requestBytes') ?? 0,
      responseBytes: c.get('responseBytes') ?? 0,
      requestId,
      traceId: span.traceId,
      connectionId: c.get('connectionId'),
      audit: auditOf(c),
    });
    span.end(requestEnding(request, requestId));
  });
}

/** How the span of a request ends. */
export function requestEnding({ method, route, status }: HttpLabels, requestId: string) {
  return {
    name: `${method} ${route}`,
    attributes: {
      'http.request.method': method,
      'http.route': route,
      'http.response.status_code': status,
      'token_manager.request_id': requestId,
    },
    isError: status >= 500,
  };
}

/** Undefined: the request gets one of ours. */
export function requestIdOf(header: string | undefined): string | undefined {
  return header !== undefined && requestIdPattern.test(header) ? header : undefined;
}
