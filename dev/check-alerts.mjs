// Has promtool read the alert rules and run their unit tests.
import { join } from 'node:path';

import { output, root, runDeployCheck } from './deploy-check.mjs';
import { findGoTools } from './pinned-tools.mjs';

await runDeployCheck(() => {
  const promtool = join(findGoTools(root), 'promtool');
  const cwd = join(root, 'deploy', 'prometheus');
  output(promtool, ['check', 'rules', '--lint=all', '--lint-fatal', 'alerts.yaml'], { cwd });
  output(promtool, ['test', 'rules', 'alerts.test.yaml'], { cwd });
});
