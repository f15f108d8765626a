import type { BufferedMetricUpdate } from '@temporalio/worker';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/**
 * What the SDK says of a measurement, as far as it is bounded by what this service runs: operations of
 * the API, types and Task Queues of its own Worker.
 */
const labelNames = [
  'namespace',
  'task_queue',
  'operation',
  'workflow_type',
  'activity_type',
  'worker_type',
  'poller_type',
  'status_code',
  'failure_reason',
] as const;
type Labels = Partial<Record<(typeof labelNames)[number], string>>;

/** Whoever may start runs may name any type, so that the number of series of a metric is bounded too. */
const seriesMax = 500;

type Instrument = (labels: Labels, value: number) => void;

/**
 * Metrics of the Temporal SDK in our registry, made when the SDK first measures them, under the names
 * that its own Prometheus exporter gives them with unit and `_total` suffixes: `temporal_*`.
 */
export function createSdkMetrics(
  registry: Registry,
  durationBucketsSeconds: number[],
): (updates: Iterable<BufferedMetricUpdate>) => void {
  const instruments = new Map<string, Instrument>();

  function instrumentOf({ metric }: BufferedMetricUpdate): Instrument {
    const known = instruments.get(metric.name);
    if (known !== undefined) return known;
    const made = bounded(makeInstrument(metric));
    instruments.set(metric.name, made);
    return made;
  }

  function makeInstrument({ name, kind, unit, description }: BufferedMetricUpdate['metric']) {
    const common = {
      help: description ?? `${name} of the Temporal SDK`,
      labelNames,
      registers: [registry],
    };
    switch (kind) {
      case 'counter': {
        const counter = new Counter({ ...common, name: `${name}_total` });
        return (labels: Labels, value: number) => counter.inc(labels, value);
      }
      case 'gauge': {
        const gauge = new Gauge({ ...common, name });
        return (labels: Labels, value: number) => gauge.set(labels, value);
      }
      case 'up-down-counter': {
        const gauge = new Gauge({ ...common, name });
        return (labels: Labels, value: number) => gauge.inc(labels, value);
      }
      case 'histogram': {
        const histogram = new Histogram({
          ...common,
          name: unit === 's' ? `${name}_seconds` : name,
          ...(unit === 's' && { buckets: durationBucketsSeconds }),
        });
        return (labels: Labels, value: number) => histogram.observe(labels, value);
      }
    }
  }

  return (updates) => {
    for (const update of updates) instrumentOf(update)(labelsOf(update), update.value);
  };
}

function labelsOf({ attributes }: BufferedMetricUpdate): Labels {
  const labels: Labels = {};
  for (const name of labelNames) {
    const value = attributes[name];
    if (value !== undefined) labels[name] = String(value);
  }
  return labels;
}

function bounded(record: Instrument): Instrument {
  const series = new Set<string>();
  return (labels, value) => {
    const key = Object.values(labels).join('\0');
    if (!series.has(key)) {
      if (series.size >= seriesMax) return;
      series.add(key);
    }
    record(labels, value);
  };
}
