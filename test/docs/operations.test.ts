import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { problemKinds } from '../../client/contract.ts';

const root = new URL('../../', import.meta.url);
const text = readFileSync(new URL('docs/operations.md', root), 'utf8');
/** As they are linked to. */
const anchors = Array.from(text.matchAll(/^#+ (.+)$/gm), ([, title = '']) =>
  title
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-'),
);
const { groups } = parse(readFileSync(new URL('deploy/prometheus/alerts.yaml', root), 'utf8')) as {
  groups: { rules: { alert: string; annotations: { runbook_url: string } }[] }[];
};
const alerts = groups.flatMap(({ rules }) => rules);
const tested = readFileSync(new URL('deploy/prometheus/alerts.test.yaml', root), 'utf8');

describe('docs/operations.md', () => {
  it.each(alerts)('says what to do about $alert', ({ alert, annotations }) => {
    const [, anchor = ''] = /^docs\/operations\.md#(.+)$/.exec(annotations.runbook_url) ?? [];
    expect(anchor).toBe(alert.toLowerCase());
    expect(anchors).toContain(anchor);
    expect(tested).toContain(`alertname: ${alert}\n        exp_alerts:`);
  });

  it.each(Object.keys(problemKinds))('says what to do about %s', (code) => {
    expect(anchors).toContain(code);
  });

  it('links to nothing that is not there', () => {
    const links = Array.from(text.matchAll(/\]\((?!https?:)([^)]+)\)/g), ([, link = '']) => link);
    const missing = links.filter((link) =>
      link.startsWith('#')
        ? !anchors.includes(link.slice(1))
        : !existsSync(new URL(`docs/${link.split('#')[0] ?? ''}`, root)),
    );
    expect(missing).toEqual([]);
  });
});
