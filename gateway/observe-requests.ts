import { createMiddleware } from 'hono/factory';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Tracer } from '../platform/tracer.ts';
import type { GatewayEnv } from './gateway-env.ts';
import { routeTemplate } from './route-template.ts';

/** A caller's own request id is taken over when it is no longer than this and plainly printable. */
const requestIdPattern = /^[A-Za-z0-9._~:+/=@-]{1,128}$/;

const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']);

type HttpMetrics = Pick<
  Metrics,
  'httpRequests' | 'httpRequestDurationSeconds' | 'httpRequestSizeBytes' | 'httpResponseSizeBytes'
>;

interface ObserverDependencies {
  clock: Clock;
  log: Pick<Logger, 'info'>;
  metrics: HttpMetrics;
  tracer: Pick<Tracer, 'start'>;
  logHttpRequests: boolean;
  newRequestId: () => string;
}

/**
 * Gives every request its id, counts it and writes its one log line. Labels and the line hold the
 * route's template, never the path, the query or a body, so they stay bounded and free of secrets.
 */
export function observeRequests(dependencies: ObserverDependencies) {
  const { clock, log, metrics, tracer, logHttpRequests, newRequestId } = dependencies;
  return createMiddleware<GatewayEnv>(async function observeRequests(c, next) {
    const startedMs = clock.monotonicMs();
    const requestId = requestIdOf(c.req.header('X-Request-Id')) ?? newRequestId();
    c.set('requestId', requestId);
    c.header('X-Request-Id', requestId);
    const span = tracer.start(c.req.method, {
      kind: 'server',
      parent: c.req.header('traceparent'),
    });
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
    const problem = c.get('problem');
    metrics.httpRequests.inc({ ...request, problem: problem ?? '' });
    metrics.httpRequestDurationSeconds.observe(request, durationSeconds);
    metrics.httpRequestSizeBytes.observe(request, c.get('requestBytes') ?? 0);
    metrics.httpResponseSizeBytes.observe(request, c.get('responseBytes') ?? 0);
    span.end({
      name: `${request.method} ${request.route}`,
      attributes: {
        'http.request.method': request.method,
        'http.route': request.route,
        'http.response.status_code': request.status,
        'token_manager.request_id': requestId,
      },
      isError: request.status >= 500,
    });
    if (logHttpRequests) {
      log.info(
        {
          ...request,
          duration_ms: Math.round(durationSeconds * 1_000_000) / 1_000,
          request_id: requestId,
          trace_id: span.traceId,
          connection_id: c.get('connectionId'),
          problem,
        },
        'request',
      );
    }
  });
}

function requestIdOf(header: string | undefined): string | undefined {
  return header !== undefined && requestIdPattern.test(header) ? header : undefined;
}
