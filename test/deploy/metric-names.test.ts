import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../platform/metrics.ts';

const page = await createMetrics({ subsystem: 'test' }).page();
const registered = new Set(
  Array.from(page.body.matchAll(/^# TYPE (\S+) (\S+)$/gm), ([, name = '', type]) =>
    type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
  ).flat(),
);

function namesIn(file: string): string[] {
  const text = readFileSync(new URL(`../../deploy/${file}`, import.meta.url), 'utf8');
  const found = text.matchAll(/\b((?:token_manager|temporal|process|nodejs)_[a-z0-9_]+)\b/g);
  return [...new Set(Array.from(found, ([, name = '']) => name))];
}

describe.each(['prometheus/alerts.yaml', 'prometheus/alerts.test.yaml', 'grafana/dashboard.json'])(
  'deploy/%s',
  (file) => {
    it('names only metrics that the service has', () => {
      // The Temporal SDK names its own.
      const names = namesIn(file).filter((name) => !name.startsWith('temporal_'));
      expect(names.length).toBeGreaterThan(3);
      expect(names.filter((name) => !registered.has(name))).toEqual([]);
    });
  },
);

it('docs/operations.md has a row for every metric of our own', () => {
  const text = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
  const names = Array.from(
    page.body.matchAll(/^# TYPE token_manager_(\S+)/gm),
    ([, name = '']) => name,
  );
  expect(names.length).toBeGreaterThan(10);
  expect(names.filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
});
