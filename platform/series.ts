import type { Metric, Registry } from 'prom-client';

/** A series for each set of labels; the labels of every metric are bounded. */
export interface CounterOf<Labels> {
  inc(labels: Labels): void;
}

export interface HistogramOf<Labels> {
  observe(labels: Labels, value: number): void;
}

/** One set of labels, for those who count often: nothing is looked up. */
export interface CounterSeries {
  inc(): void;
}

export interface HistogramSeries {
  observe(value: number): void;
}

export interface SeriesCounter<Labels> extends CounterOf<Labels> {
  series(labels: Labels): CounterSeries;
}

export interface SeriesHistogram<Labels> extends HistogramOf<Labels> {
  series(labels: Labels): HistogramSeries;
}

type LabelValues = Record<string, string | number>;

interface Described {
  name: string;
  help: string;
  labelNames: readonly string[];
}

/** A line of the page. */
interface Sample {
  labels: LabelValues;
  value: number;
  metricName?: string;
}

/**
 * A counter that prom-client shows on its page. Its own checks and sorts the labels of each call, which
 * costs more than everything else that a read from memory does.
 */
export function createCounter<Labels extends object>(
  registry: Registry,
  described: Described,
): SeriesCounter<Labels> {
  const all = createSeries<{ inc(): void; count: number }>(described.labelNames, () => ({
    count: 0,
    inc() {
      this.count += 1;
    },
  }));
  register(registry, described, 'counter', () =>
    all.map(({ labels, series }) => ({ labels, value: series.count })),
  );
  return {
    inc: (labels) => all.of(labels).inc(),
    series: (labels) => all.of(labels),
  };
}

/** The same for a histogram; `buckets` are upper bounds, ascending. */
export function createHistogram<Labels extends object>(
  registry: Registry,
  described: Described & { buckets: readonly number[] },
): SeriesHistogram<Labels> {
  const { buckets, name } = described;
  const all = createSeries(described.labelNames, () => new BucketedSeries(buckets));
  register(registry, described, 'histogram', () =>
    all.map(({ labels, series }) => series.samples(name, labels)).flat(),
  );
  return {
    observe: (labels, value) => all.of(labels).observe(value),
    series: (labels) => all.of(labels),
  };
}

class BucketedSeries {
  readonly #bounds: readonly number[];
  /** By bucket, not cumulative; the last is for what is above every bound. */
  readonly #counts: number[];
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let index = 0;
    while (index < bounds.length && value > (bounds[index] ?? Infinity)) index += 1;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#sum += value;
  }

  samples(name: string, labels: LabelValues): Sample[] {
    let count = 0;
    const buckets = this.#counts.map((inBucket, index) => {
      count += inBucket;
      const le = this.#bounds[index] ?? '+Inf';
      return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: this.#sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
  }
}

function createSeries<Series>(labelNames: readonly string[], create: () => Series) {
  const known = new Map<string, { labels: LabelValues; series: Series }>();
  return {
    of(given: object): Series {
      const values = given as LabelValues;
      const labels = Object.fromEntries(labelNames.map((name) => [name, values[name] ?? '']));
      const key = JSON.stringify(Object.values(labels));
      let found = known.get(key);
      if (found === undefined) {
        found = { labels, series: create() };
        known.set(key, found);
      }
      return found.series;
    },
    map: <Result>(of: (known: { labels: LabelValues; series: Series }) => Result): Result[] =>
      [...known.values()].map(of),
  };
}

function register(
  registry: Registry,
  { name, help }: Described,
  type: 'counter' | 'histogram',
  samples: () => Sample[],
): void {
  const metric = {
    name,
    get: () => Promise.resolve({ name, help, type, aggregator: 'sum', values: samples() }),
  };
  // The registry asks a metric for its name and its samples only; its type names the library's classes.
  registry.registerMetric(metric as unknown as Metric);
}
