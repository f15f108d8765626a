// Has Go open the test vectors of the sealed format, by a program that shares nothing with ours.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import { output, root, runDeployCheck } from './deploy-check.mjs';
import { ToolMissing } from './pinned-tools.mjs';

const folder = join(root, 'test', 'vault');

await runDeployCheck(() => {
  if (spawnSync('go', ['version']).status !== 0) throw new ToolMissing('go is not installed');
  output('go', [
    'run',
    join(folder, 'open-sealed-values.go'),
    join(folder, 'sealed-value-vectors.json'),
  ]);
});
