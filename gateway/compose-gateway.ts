import { problemKinds } from '../client/contract.ts';
import { listen } from '../platform/listen.ts';
import type { TlsSource } from '../platform/tls-source.ts';
import type { Metrics } from '../platform/metrics.ts';
import { createMetricsServer, urlHost } from '../platform/metrics-server.ts';
import { createReadiness } from '../platform/readiness.ts';
import { createAdmission } from './admission.ts';
import { createGateway, type GatewayDependencies } from './create-gateway.ts';
import { drainWaitMs, type HttpLimits } from './http-limits.ts';
import { createHttpServer, type BufferSizes } from './http-server.ts';
import { createRareWarning } from './rare-warning.ts';

export interface ComposedGateway {
  url: string;
  /** Undefined when METRICS_PORT is 0. */
  metricsUrl: string | undefined;
  /**
   * Drains: not ready, no new connections, waits for the requests under way. Callers who still wait for
   * a refresh after 20 s are told to come again; what is left after 23 s is cut. Closing again awaits the same end.
   */
  close(): Promise<void>;
}

type GatewayComposition = Omit<GatewayDependencies, 'readiness' | 'metrics'> & {
  metrics: Metrics;
  host: string;
  /** 0 chooses a free one. */
  port: number;
  /** Absent: plain HTTP. It is the caller's to close. */
  tls?: TlsSource;
  /** Only tests change these. */
  httpLimits?: Partial<HttpLimits>;
  /** 0 turns the metrics server off. */
  metricsPort: number;
  bufferSizes: BufferSizes;
  /** Resolve when the dependency answers; `postgres` decides when the gateway is ready at first. */
  checks: { postgres: () => Promise<unknown>; temporal: () => Promise<unknown> };
};

/** A gateway that listens: HTTP on `host:port`, metrics and probes beside it. Rejects on a busy port. */
export async function composeGateway(composition: GatewayComposition): Promise<ComposedGateway> {
  const { host, port, metricsPort, metrics, checks, log } = composition;
  const readiness = createReadiness({ checks, required: ['postgres'] });
  const admission = createAdmission();
  const { app, answerDirectly } = createGateway({
    ...composition,
    admission,
    readiness: readiness.current,
  });
  const http = createHttpServer({
    ...composition,
    ...composition.bufferSizes,
    answerDirectly,
    fetch: (request, bindings) => app.fetch(request, bindings),
    onRefused({ code }) {
      const { status } = problemKinds[code];
      metrics.httpRequests.inc({ method: 'OTHER', route: 'unmatched', status, problem: code });
    },
    onHandshakeFailed: createRareWarning('TLS handshake failed', composition),
    onDropped: createRareWarning('connections are dropped', composition),
    ...(composition.httpLimits !== undefined && { limits: composition.httpLimits }),
  });
  try {
    const address = await listen(http.server, { host, port, setting: 'PORT' });
    const metricsServer =
      metricsPort === 0
        ? undefined
        : await createMetricsServer({
            host,
            port: metricsPort,
            metrics,
            readiness: readiness.current,
            log,
          });
    let closing: Promise<void> | undefined;
    return {
      url: `${composition.tls === undefined ? 'http' : 'https'}://${urlHost(host)}:${address.port}`,
      metricsUrl: metricsServer?.url,
      close() {
        closing ??= (async () => {
          readiness.drain();
          const limit = setTimeout(() => admission.endWaiting(), drainWaitMs);
          await http.drain();
          clearTimeout(limit);
          await metricsServer?.close();
          readiness.close();
        })();
        return closing;
      },
    };
  } catch (error) {
    readiness.close();
    if (http.server.listening) await http.drain();
    throw error;
  }
}
