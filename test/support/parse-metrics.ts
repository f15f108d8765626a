interface Family {
  name: string;
  type: string;
  help: string;
  labels: Set<string>;
}

interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** A page in the Prometheus text format, read strictly. */
export interface MetricsPage {
  families: Map<string, Family>;
  /** What `promtool check metrics` would say: naming, help, order, doubled series. */
  complaints: string[];
  /** The sum of the samples with this name and these labels. */
  valueOf: (name: string, labels: Record<string, string>) => number;
}

const sampleLine = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const labelPair = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/gy;
const seriesMax = 2_000;

export function parseMetrics(text: string): MetricsPage {
  const families = new Map<string, Family>();
  const samples: Sample[] = [];
  const complaints: string[] = [];
  const seen = new Set<string>();
  let current: Family | undefined;
  if (!text.endsWith('\n')) complaints.push('the page does not end with a line feed');
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line) ?? [];
    if (kind === 'HELP') {
      if (families.has(name)) complaints.push(`${name} comes twice`);
      current = { name, type: '', help: rest, labels: new Set() };
      families.set(name, current);
      if (rest === '') complaints.push(`${name} has no help`);
      continue;
    }
    if (kind === 'TYPE') {
      if (current?.name !== name) complaints.push(`the type of ${name} does not follow its help`);
      else current.type = rest;
      continue;
    }
    const sample = readSample(line);
    if (sample === undefined) {
      complaints.push(`no sample: ${line}`);
      continue;
    }
    samples.push(sample);
    const key = JSON.stringify([sample.name, Object.entries(sample.labels).toSorted()]);
    if (seen.has(key)) complaints.push(`${line} comes twice`);
    seen.add(key);
    if (current === undefined || !isOf(sample, current)) {
      complaints.push(`${sample.name} is not under its own type`);
      continue;
    }
    for (const label of Object.keys(sample.labels)) {
      if (label !== 'le') current.labels.add(label);
    }
  }
  for (const family of families.values()) complaints.push(...lint(family));
  if (samples.length > seriesMax) complaints.push(`${samples.length} series`);
  return {
    families,
    complaints,
    valueOf(name, labels) {
      return samples
        .filter(
          (sample) =>
            sample.name === name &&
            Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
        )
        .reduce((sum, { value }) => sum + value, 0);
    },
  };
}

function readSample(line: string): Sample | undefined {
  const [, name, pairs = '', value = ''] = sampleLine.exec(line) ?? [];
  const number = value === '+Inf' ? Infinity : Number(value);
  if (name === undefined || Number.isNaN(number)) return undefined;
  const labels: Record<string, string> = {};
  let length = 0;
  for (const [pair, label = '', text = ''] of pairs.matchAll(labelPair)) {
    labels[label] = text;
    length += pair.length;
  }
  return length === pairs.length ? { name, labels, value: number } : undefined;
}

function isOf(sample: Sample, family: Family): boolean {
  const suffixes = family.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
  return suffixes.some((suffix) => sample.name === family.name + suffix);
}

/** The rules of Prometheus for names: base units, `_total` for counters and for nothing else. */
function lint({ name, type }: Family): string[] {
  const isOurs = /^(?:token_manager|temporal)_/.test(name);
  const complaints: string[] = [];
  if (!['counter', 'gauge', 'histogram', 'summary'].includes(type)) {
    complaints.push(`${name} has the type ${JSON.stringify(type)}`);
  }
  if (!isOurs) return complaints;
  if ((type === 'counter') !== name.endsWith('_total')) {
    complaints.push(`${name} is a ${type}: counters, and only they, end in _total`);
  }
  if (/_(?:ms|milliseconds|minutes|kilobytes)(?:_|$)/.test(name)) {
    complaints.push(`${name} is not in a base unit`);
  }
  if (/_(?:count|sum|bucket)$/.test(name)) complaints.push(`${name} ends as a sample does`);
  if (type === 'histogram' && !/_(?:seconds|bytes)$/.test(name)) {
    complaints.push(`${name} does not name its unit`);
  }
  return complaints;
}
