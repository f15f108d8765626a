import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadConfig } from '../../platform/config.ts';
import { loadTracer } from '../../platform/otel-tracer.ts';
import { createIdTracer } from '../../platform/tracer.ts';

const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
const log = { warn: () => undefined };

let collector: Server;
let received: { path: string | undefined; body: Buffer }[];

beforeEach(async () => {
  received = [];
  collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push({ path: request.url, body: Buffer.concat(chunks) });
      response.end();
    });
  }).listen(0, '127.0.0.1');
  await once(collector, 'listening');
  const { port } = collector.address() as AddressInfo;
  // The exporter reads the environment itself.
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', `http://127.0.0.1:${port}`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  collector.close();
});

describe('tracing that is on', () => {
  it('sends spans of the caller’s trace to the collector, the last ones when it is closed', async () => {
    const tracer = await loadTracer({ subsystemName: 'my-service', tracing: { ratio: 1 } }, log);
    const span = tracer.start('GET', { kind: 'server', parent: traceparent });
    expect(span.traceId).toBe('a'.repeat(32));
    expect(span.traceparent).toMatch(/^00-a{32}-(?!b{16})[0-9a-f]{16}-01$/);
    span.end({ name: 'GET /ping', attributes: { 'http.route': '/ping' }, isError: true });
    expect(received).toEqual([]);
    await tracer.close();
    expect(received.map(({ path }) => path)).toEqual(['/v1/traces']);
    const body = received[0]?.body ?? Buffer.alloc(0);
    for (const text of ['my-service', 'GET /ping', 'http.route']) {
      expect(body.includes(text)).toBe(true);
    }
    expect(body.includes(Buffer.from('a'.repeat(32), 'hex'))).toBe(true);
    expect(body.includes(Buffer.from('b'.repeat(16), 'hex'))).toBe(true);
  });

  it('records nothing of a trace that its caller does not record, nor begun here at ratio 0', async () => {
    const tracer = await loadTracer({ subsystemName: 'test', tracing: { ratio: 0 } }, log);
    const unsampled = traceparent.replace(/01$/, '00');
    tracer.start('GET', { kind: 'server', parent: unsampled }).end();
    const begun = tracer.start('GET', { kind: 'server' });
    expect(begun.traceparent).toMatch(/-00$/);
    begun.end();
    await tracer.close();
    expect(received).toEqual([]);
  });

  it('says so when the collector cannot be reached, and does not keep the process', async () => {
    collector.close();
    const warn = vi.fn();
    const tracer = await loadTracer({ subsystemName: 'test', tracing: { ratio: 1 } }, { warn });
    tracer.start('GET', { kind: 'server' }).end();
    const startedAtMs = performance.now();
    await tracer.close();
    expect(performance.now() - startedAtMs).toBeLessThan(10_000);
  });
});

describe('tracing that is off', () => {
  it('is the default: a caller’s context is handed on as it came, and nothing is sent', async () => {
    const tracer = await loadTracer({ subsystemName: 'test', tracing: undefined }, log);
    const span = tracer.start('GET', { kind: 'server', parent: traceparent });
    expect([span.traceId, span.traceparent]).toEqual(['a'.repeat(32), traceparent]);
    span.end();
    await tracer.close();
    expect(received).toEqual([]);
    expect(createIdTracer().start('GET', { kind: 'server', parent: 'x' }).traceparent).toMatch(
      /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/,
    );
  });
});

describe('the variables of OpenTelemetry', () => {
  const base = { DATABASE_URL: 'postgres://app@127.0.0.1/tokens', LOCAL_KEY_FILE: '/dev/null' };
  const tracing = (env: Record<string, string>) =>
    loadConfig({ env: { ...base, ...env }, readFile: () => '{}' }).tracing;
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' };

  it('turn it on by an endpoint, and off again', () => {
    expect(tracing({})).toBeUndefined();
    expect(tracing(endpoint)).toEqual({ ratio: 1 });
    expect(tracing({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://c/v1/traces' })).toBeDefined();
    expect(tracing({ ...endpoint, OTEL_SDK_DISABLED: 'true' })).toBeUndefined();
    expect(tracing({ ...endpoint, OTEL_TRACES_EXPORTER: 'none' })).toBeUndefined();
    const sampler = { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio' };
    expect(tracing({ ...endpoint, ...sampler, OTEL_TRACES_SAMPLER_ARG: '0.25' })).toEqual({
      ratio: 0.25,
    });
  });

  it.each([
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318'],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
    ['OTEL_TRACES_SAMPLER', 'always_off'],
    ['OTEL_SDK_DISABLED', 'yes'],
  ])('%s=%s is refused', (name, value) => {
    expect(() => tracing({ [name]: value })).toThrow(
      expect.objectContaining({
        errors: [expect.objectContaining({ parameter: name })] as unknown[],
      }) as Error,
    );
  });
});
