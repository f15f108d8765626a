// Lints deploy/Dockerfile.
import { join } from 'node:path';

import { output, root, runDeployCheck } from './deploy-check.mjs';
import { findHadolint } from './pinned-tools.mjs';

await runDeployCheck(() => {
  output(findHadolint(root), ['--failure-threshold', 'style', join('deploy', 'Dockerfile')]);
});
