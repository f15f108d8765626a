import { quoted, type Settings } from './settings.ts';

const samplers = ['parentbased_always_on', 'parentbased_traceidratio'] as const;

/** Endpoint, headers and certificates are read by the exporter. */
export interface TracingConfig {
  /** Part of the traces begun here that is recorded. */
  ratio: number;
}

/**
 * The standard variables of OpenTelemetry, as far as they decide whether there are traces and which;
 * headers, certificates and the rest are read by the exporter. Notes a fault for what the exporter would pass over in silence.
 */
export function readTracing(settings: Settings): TracingConfig | undefined {
  const names = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'];
  for (const name of names) checkEndpoint(settings, name);
  for (const name of ['OTEL_EXPORTER_OTLP_PROTOCOL', 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL']) {
    settings.oneOf(name, ['http/protobuf'], 'http/protobuf');
  }
  const isDisabled =
    settings.boolean('OTEL_SDK_DISABLED', false) ||
    settings.oneOf('OTEL_TRACES_EXPORTER', ['otlp', 'none'], 'otlp') === 'none';
  const sampler = settings.oneOf('OTEL_TRACES_SAMPLER', samplers, 'parentbased_always_on');
  const ratio = sampler === 'parentbased_traceidratio' ? readRatio(settings) : 1;
  const hasEndpoint = names.some((name) => settings.text(name) !== undefined);
  return hasEndpoint && !isDisabled ? { ratio } : undefined;
}

function checkEndpoint(settings: Settings, name: string): void {
  const value = settings.text(name);
  if (value === undefined) return;
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return;
  // The value is left out: a URL may hold a password.
  settings.fault(name, 'is no URL; set http:// or https:// and host:port of an OTLP collector');
}

function readRatio(settings: Settings): number {
  const value = settings.text('OTEL_TRACES_SAMPLER_ARG') ?? '1';
  const ratio = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN;
  if (ratio <= 1) return ratio;
  settings.fault('OTEL_TRACES_SAMPLER_ARG', `is ${quoted(value)}; set a number from 0 to 1`);
  return 1;
}
