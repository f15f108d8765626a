// Has promtool read the alert rules and the dashboard's expressions, and run the unit tests of the rules.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { output, root, runDeployCheck } from './deploy-check.mjs';
import { findGoTools } from './pinned-tools.mjs';

await runDeployCheck(() => {
  const promtool = join(findGoTools(root), 'promtool');
  const cwd = join(root, 'deploy', 'prometheus');
  output(promtool, ['check', 'rules', '--lint=all', '--lint-fatal', 'alerts.yaml'], { cwd });
  output(promtool, ['test', 'rules', 'alerts.test.yaml'], { cwd });
  output(promtool, ['check', 'rules'], { input: JSON.stringify(dashboardAsRules()) });
});

/** Each expression as a recording rule, for promtool reads no dashboards. */
function dashboardAsRules() {
  const file = join(root, 'deploy', 'grafana', 'dashboard.json');
  const { panels } = JSON.parse(readFileSync(file, 'utf8'));
  const rules = panels
    .flatMap(({ targets = [] }) => targets)
    .map(({ expr }, index) => ({
      record: `panel:${index}`,
      // What Grafana would put there.
      expr: expr.replaceAll('$__rate_interval', '5m'),
    }));
  return { groups: [{ name: 'dashboard', rules }] };
}
