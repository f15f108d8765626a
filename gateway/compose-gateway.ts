import { listen } from '../platform/listen.ts';
import type { Metrics } from '../platform/metrics.ts';
import { createMetricsServer, urlHost } from '../platform/metrics-server.ts';
import { createReadiness } from '../platform/readiness.ts';
import { createGateway, type GatewayDependencies } from './create-gateway.ts';
import { createHttpServer, type BufferSizes } from './http-server.ts';

export interface ComposedGateway {
  url: string;
  /** Undefined when METRICS_PORT is 0. */
  metricsUrl: string | undefined;
  /**
   * Drains: not ready, no new connections, waits up to 25 s for the requests under way, then closes
   * what is left. Closing again awaits the same end.
   */
  close(): Promise<void>;
}

type GatewayComposition = Omit<GatewayDependencies, 'readiness' | 'metrics'> & {
  metrics: Metrics;
  host: string;
  /** 0 chooses a free one. */
  port: number;
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
  const app = createGateway({ ...composition, readiness: readiness.current });
  const http = createHttpServer(app.fetch, composition.bufferSizes);
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
      url: `http://${urlHost(host)}:${address.port}`,
      metricsUrl: metricsServer?.url,
      close() {
        closing ??= (async () => {
          readiness.drain();
          await http.drain();
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
