import { Counter, Histogram, Registry } from 'prom-client';
import { expect, it } from 'vitest';
import { createCounter, createHistogram } from '../../platform/series.ts';

const described = {
  name: 'a_metric',
  help: 'What it is.',
  labelNames: ['route', 'status'] as const,
};
const labels = { route: '/v1/connections/{id}/token', status: 200 };

it('a counter has the page of prom-client’s', async () => {
  const [ours, theirs] = [new Registry(), new Registry()];
  for (const registry of [ours, theirs]) registry.setDefaultLabels({ subsystem: 'test' });
  const counter = createCounter<typeof labels>(ours, described);
  const reference = new Counter({ ...described, registers: [theirs] });
  const series = counter.series(labels);
  series.inc();
  counter.inc(labels);
  counter.inc({ ...labels, status: 404 });
  reference.inc(labels, 2);
  reference.inc({ ...labels, status: 404 });
  expect(await ours.metrics()).toBe(await theirs.metrics());
});

it('a histogram has the page of prom-client’s, at the bounds too', async () => {
  const [ours, theirs] = [new Registry(), new Registry()];
  const buckets = [0.001, 0.01, 1];
  const histogram = createHistogram<typeof labels>(ours, { ...described, buckets });
  const reference = new Histogram({ ...described, buckets, registers: [theirs] });
  for (const value of [0, 0.001, 0.0011, 0.01, 0.5, 1, 7]) {
    histogram.series(labels).observe(value);
    reference.observe(labels, value);
  }
  expect(await ours.metrics()).toBe(await theirs.metrics());
});
