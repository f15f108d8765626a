import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from './config.ts';
import type { Logger } from './log.ts';
import { formatTraceparent, parseTraceparent } from './trace-context.ts';
import { createIdTracer, type Tracer } from './tracer.ts';

const closeLimitMs = 3_000;

/**
 * Tracing as the configuration has it. With an OTLP endpoint spans are recorded and sent in batches, and
 * what cannot be sent is dropped; the packages for it are loaded only then.
 */
export async function loadTracer(
  config: Pick<Config, 'tracing' | 'subsystemName'>,
  log: Pick<Logger, 'warn'>,
): Promise<Tracer> {
  if (config.tracing === undefined) return createIdTracer();
  const [api, sdk, resources, { OTLPTraceExporter }] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/exporter-trace-otlp-proto'),
  ]);
  const { diag, DiagLogLevel, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags } = api;
  const tell = (message: string): void => log.warn({ component: 'opentelemetry' }, message);
  const silent = (): void => undefined;
  diag.setLogger(
    { error: tell, warn: tell, info: silent, debug: silent, verbose: silent },
    DiagLogLevel.WARN,
  );
  const provider = new sdk.TracerProvider({
    resource: resources
      .defaultResource()
      .merge(resources.resourceFromAttributes({ 'service.name': config.subsystemName }))
      // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word.
      .merge(resources.detectResources({ detectors: [resources.envDetector] })),
    sampler: new sdk.ParentBasedSampler({
      root: new sdk.TraceIdRatioBasedSampler(config.tracing.ratio),
    }),
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  });
  const tracer = provider.getTracer(config.subsystemName);
  const kinds = {
    server: SpanKind.SERVER,
    producer: SpanKind.PRODUCER,
    consumer: SpanKind.CONSUMER,
  } as const;

  return {
    start(name, { kind, parent }) {
      const from = parseTraceparent(parent);
      const context =
        from === undefined
          ? ROOT_CONTEXT
          : trace.setSpanContext(ROOT_CONTEXT, {
              traceId: from.traceId,
              spanId: from.spanId,
              traceFlags: from.isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
              isRemote: true,
            });
      const span = tracer.startSpan(name, { kind: kinds[kind] }, context);
      const { traceId, spanId, traceFlags } = span.spanContext();
      const isSampled = (traceFlags & TraceFlags.SAMPLED) !== 0;
      return {
        traceId,
        traceparent: formatTraceparent({ traceId, spanId, isSampled }),
        end(outcome = {}) {
          if (outcome.name !== undefined) span.updateName(outcome.name);
          if (outcome.attributes !== undefined) span.setAttributes(outcome.attributes);
          if (outcome.isError === true) span.setStatus({ code: SpanStatusCode.ERROR });
          span.end();
        },
      };
    },
    async close() {
      await Promise.race([
        provider.shutdown().catch(silent),
        sleep(closeLimitMs, undefined, { ref: false }),
      ]);
    },
  };
}
