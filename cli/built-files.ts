import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BuildInfo } from '../gateway/routes/build.ts';

export interface BuiltFiles {
  build: BuildInfo;
  workflowBundlePath: string;
}

/** What dev/build.mjs puts beside the compiled code. Throws when there is none. */
export function loadBuiltFiles(distFolder: string): BuiltFiles {
  let buildInfo: string;
  try {
    buildInfo = readFileSync(join(distFolder, 'build-info.json'), 'utf8');
  } catch (cause) {
    throw new Error('This is not a build: run `npm run build` and start from dist/.', { cause });
  }
  return {
    build: JSON.parse(buildInfo) as BuildInfo,
    workflowBundlePath: join(distFolder, 'worker', 'workflow-bundle.js'),
  };
}
