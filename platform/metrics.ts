import type { BufferedMetricUpdate } from '@temporalio/worker';
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import {
  connectionStatuses,
  type ConnectionStatus,
  type FailureClass,
  type ProblemCode,
  type RefreshOutcome,
  type RefreshTrigger,
} from '../client/contract.ts';
import type { Clock } from './clock.ts';
import type { CertificateExpiry } from './tls-files.ts';
import { createSdkMetrics } from './sdk-metrics.ts';
import {
  createCounter,
  createHistogram,
  type CounterOf,
  type HistogramOf,
  type SeriesCounter,
  type SeriesHistogram,
} from './series.ts';

const prefix = 'token_manager_';

/** 1 ms to 60 s: a read from memory at one end, the longest wait of a caller at the other. */
const durationBucketsSeconds = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60,
];
/** 64 bytes to 1 MiB, the limit of a body. */
const sizeBucketsBytes = [64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576];

/** How long a scrape waits for PostgreSQL. */
const connectionCountDeadlineMs = 2_000;

/** Often enough that what the Temporal SDK measured between two scrapes fits into its buffer. */
const takeSdkMetricsEveryMs = 1_000;

/** What the Temporal SDK has measured since it was last asked. */
export type SdkMeasurements = () => Iterable<BufferedMetricUpdate>;

/** How many connections have each status; absent statuses have none. */
export type ConnectionCounts = Partial<Record<ConnectionStatus, number>>;

/** Labels of one HTTP exchange: `route` is the template, never the path a caller chose. */
export interface HttpLabels {
  method: string;
  route: string;
  status: number;
}

/** Everything this process counts. Rooms take the members they fill, as `Pick<Metrics, …>`. */
export interface Metrics {
  /** `problem` is empty for an answer without one. */
  httpRequests: SeriesCounter<HttpLabels & { problem: ProblemCode | '' }>;
  httpRequestDurationSeconds: SeriesHistogram<HttpLabels>;
  httpRequestSizeBytes: SeriesHistogram<HttpLabels>;
  httpResponseSizeBytes: SeriesHistogram<HttpLabels>;
  tokenReads: SeriesCounter<{ source: 'cache' | 'store' | 'refresh' | 'stale' }>;
  refreshes: CounterOf<{ provider: string; outcome: RefreshOutcome; trigger: RefreshTrigger }>;
  /** `queue`: from the request to the exchange; `provider`: the exchange; `commit`: storing its answer. */
  refreshDurationSeconds: HistogramOf<{
    provider: string;
    phase: 'queue' | 'provider' | 'commit';
  }>;
  /** Callers that found a refresh of their connection already running in this process. */
  refreshJoined: { inc(): void };
  /** Requests to token endpoints; `class` is `none` for an answer with tokens. */
  providerRequests: CounterOf<{ provider: string; class: FailureClass | 'none' }>;
  dataKeyOperations: CounterOf<{
    /** Name of the key provider. */
    provider: string;
    op: 'wrap' | 'unwrap';
    /** `ok`, or the reason of a key service error (vault/key-service-error.ts). */
    outcome: string;
  }>;
  /** Attempts to tell an endpoint of WEBHOOKS_FILE of an event. */
  webhookDeliveries: CounterOf<{ endpoint: string; outcome: 'taken' | 'refused' }>;
  /** Token sets that a provider issued and PostgreSQL does not hold yet; must be 0. */
  refreshedButNotStored: { inc(): void; dec(): void };
  /** Sealed values that did not open; must be 0. */
  unsealFailures: { inc(): void };
  /** How the gauge `connections` learns its values: asked at a scrape, once, by the composer. */
  collectConnections(count: () => Promise<ConnectionCounts>): void;
  /** How the gauge `sweep_lag_seconds` learns its value: asked at a scrape. */
  collectSweepLag(read: () => Promise<number>): void;
  /** How the gauge `certificate_expiry_seconds` learns its values, asked at a scrape. */
  collectCertificateExpiries(
    expiries: () => Pick<CertificateExpiry, 'role' | 'expiresAt'>[],
    clock: Clock,
  ): void;
  /** Takes what the Temporal SDK measures, every second and at a scrape, until the process ends. */
  collectSdkMetrics(measurements: SdkMeasurements): void;
  /** The page of `/metrics` in the Prometheus text format. */
  page(): Promise<{ contentType: string; body: string }>;
}

/** Metrics of one process in a registry of their own, with prom-client's process metrics beside them. */
export function createMetrics(options: { subsystem: string }): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ subsystem: options.subsystem });
  collectDefaultMetrics({ register: registry });
  const make = createInstruments(registry);
  const httpLabels = ['method', 'route', 'status'] as const;
  const collectConnections = createConnectionsGauge(registry);
  const recordSdkMetrics = createSdkMetrics(registry, durationBucketsSeconds);
  let takeSdkMetrics = (): void => undefined;
  return {
    httpRequests: make.counter('http_requests_total', 'HTTP requests answered.', [
      ...httpLabels,
      'problem',
    ]),
    httpRequestDurationSeconds: make.histogram(
      'http_request_duration_seconds',
      'From the first byte of a request to the last of its answer.',
      httpLabels,
      durationBucketsSeconds,
    ),
    httpRequestSizeBytes: make.histogram(
      'http_request_size_bytes',
      'Size of request bodies.',
      httpLabels,
      sizeBucketsBytes,
    ),
    httpResponseSizeBytes: make.histogram(
      'http_response_size_bytes',
      'Size of answer bodies.',
      httpLabels,
      sizeBucketsBytes,
    ),
    tokenReads: make.counter('token_reads_total', 'Tokens handed out, by where they came from.', [
      'source',
    ]),
    refreshes: make.counter('refreshes_total', 'Refreshes that ended, by outcome.', [
      'provider',
      'outcome',
      'trigger',
    ]),
    refreshDurationSeconds: make.histogram(
      'refresh_duration_seconds',
      'What the parts of a refresh took.',
      ['provider', 'phase'],
      durationBucketsSeconds,
    ),
    refreshJoined: make.plainCounter(
      'refresh_joined_total',
      'Callers that joined a refresh already running in this process.',
    ),
    providerRequests: make.counter(
      'provider_requests_total',
      'Requests to token endpoints, by class of the answer.',
      ['provider', 'class'],
    ),
    dataKeyOperations: make.counter(
      'data_key_operations_total',
      'Wrapping and unwrapping of data keys by the key provider.',
      ['provider', 'op', 'outcome'],
    ),
    webhookDeliveries: make.counter(
      'webhook_deliveries_total',
      'Attempts to tell a webhook endpoint of an event.',
      ['endpoint', 'outcome'],
    ),
    refreshedButNotStored: make.gauge(
      'refreshed_but_not_stored',
      'Tokens issued by a provider that PostgreSQL does not hold yet. Must be 0.',
    ),
    unsealFailures: make.plainCounter(
      'unseal_failures_total',
      'Sealed values that did not open for their owner. Must be 0.',
    ),
    collectConnections,
    collectSweepLag: createSweepLagGauge(registry),
    collectCertificateExpiries: createCertificateExpiryGauge(registry),
    collectSdkMetrics(measurements) {
      takeSdkMetrics = () => recordSdkMetrics(measurements());
      setInterval(takeSdkMetrics, takeSdkMetricsEveryMs).unref();
    },
    async page() {
      takeSdkMetrics();
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}

/** Instruments of this registry; one without labels is exposed as 0 from the start. */
function createInstruments(registry: Registry) {
  const registers = [registry];
  return {
    counter: <Labels extends object>(
      name: string,
      help: string,
      labelNames: readonly (keyof Labels & string)[],
    ) => createCounter<Labels>(registry, { name: prefix + name, help, labelNames }),
    plainCounter: (name: string, help: string) =>
      new Counter({ name: prefix + name, help, registers }),
    gauge: (name: string, help: string) => new Gauge({ name: prefix + name, help, registers }),
    histogram: <Labels extends object>(
      name: string,
      help: string,
      labelNames: readonly (keyof Labels & string)[],
      buckets: number[],
    ) => createHistogram<Labels>(registry, { name: prefix + name, help, labelNames, buckets }),
  };
}

function createConnectionsGauge(registry: Registry): Metrics['collectConnections'] {
  let count: (() => Promise<ConnectionCounts>) | undefined;
  const gauge = new Gauge({
    name: `${prefix}connections`,
    help: 'Connections by status. Absent while PostgreSQL cannot be asked.',
    labelNames: ['status'],
    registers: [registry],
    async collect() {
      const counts = await withinDeadline(count);
      gauge.reset();
      if (counts === undefined) return;
      for (const status of connectionStatuses) gauge.set({ status }, counts[status] ?? 0);
    },
  });
  return (newCount) => {
    count = newCount;
  };
}

function createSweepLagGauge(registry: Registry): Metrics['collectSweepLag'] {
  let read: (() => Promise<number>) | undefined;
  const gauge = new Gauge({
    name: `${prefix}sweep_lag_seconds`,
    help: 'For how long the longest due connection has waited for the sweep. Absent while PostgreSQL cannot be asked.',
    // The gauge has no series until its value is known.
    labelNames: [],
    registers: [registry],
    async collect() {
      const seconds = await withinDeadline(read);
      gauge.remove();
      if (seconds !== undefined) gauge.set(seconds);
    },
  });
  gauge.remove();
  return (newRead) => {
    read = newRead;
  };
}

function createCertificateExpiryGauge(registry: Registry): Metrics['collectCertificateExpiries'] {
  let read: Parameters<Metrics['collectCertificateExpiries']> | undefined;
  const gauge = new Gauge({
    name: `${prefix}certificate_expiry_seconds`,
    help: 'Time until the first certificate of a file expires; below 0 once it has. Absent without TLS.',
    labelNames: ['certificate'],
    registers: [registry],
    collect() {
      const [expiries, clock] = read ?? [];
      if (expiries === undefined || clock === undefined) return;
      for (const { role, expiresAt } of expiries()) {
        gauge.set({ certificate: role }, (expiresAt.getTime() - clock.wallMs()) / 1_000);
      }
    },
  });
  return (...given) => {
    read = given;
  };
}

/** The other metrics are worth most while PostgreSQL is away: a scrape never fails or hangs for it. */
async function withinDeadline<Value>(
  count: (() => Promise<Value>) | undefined,
): Promise<Value | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), connectionCountDeadlineMs);
  });
  try {
    return await Promise.race([count?.(), deadline]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
