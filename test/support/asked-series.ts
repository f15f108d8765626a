import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

/** A series of this service that an expression of deploy/ asks for. */
interface AskedSeries {
  /** As it stands in the expression, `_bucket` included. */
  name: string;
  /** Those that it is selected and grouped by. */
  labels: string[];
  expression: string;
}

const selectorPattern = /\b((?:token_manager|temporal|process|nodejs)_[a-z0-9_]+)(?:\{([^}]*)\})?/g;
const groupingPattern = /\b(?:by|on|without|ignoring)\s*\(([^)]*)\)/g;
/** What Prometheus adds, and what the buckets of a histogram have. */
const everywhere = new Set(['job', 'instance', 'le']);

function read(file: string): string {
  return readFileSync(new URL(`../../deploy/${file}`, import.meta.url), 'utf8');
}

/** Every expression of the dashboard and of the alert rules. */
function expressions(): string[] {
  const { panels } = JSON.parse(read('grafana/dashboard.json')) as {
    panels: { targets?: { expr: string }[] }[];
  };
  const { groups } = parse(read('prometheus/alerts.yaml')) as {
    groups: { rules: { expr: string }[] }[];
  };
  return [
    ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    ...groups.flatMap(({ rules }) => rules.map(({ expr }) => expr)),
  ];
}

/** What the dashboard and the alert rules ask for. */
export function seriesAskedFor(): AskedSeries[] {
  return expressions().flatMap((expression) => {
    const grouped = Array.from(expression.matchAll(groupingPattern), ([, names = '']) =>
      names.split(',').map((name) => name.trim()),
    ).flat();
    return Array.from(expression.matchAll(selectorPattern), ([, name = '', matchers = '']) => {
      const selected = Array.from(
        matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g),
        ([, label = '']) => label,
      );
      const labels = [...selected, ...grouped].filter((label) => !everywhere.has(label));
      return { name, labels: [...new Set(labels)], expression };
    });
  });
}
