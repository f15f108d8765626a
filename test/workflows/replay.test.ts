import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import proto from '@temporalio/proto';
import { bundleWorkflowCode, DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { beforeAll, expect, test } from 'vitest';
import { scenarios } from './scenarios.ts';
import { waitScenarios } from './wait-scenarios.ts';

const folder = join(import.meta.dirname, '..', 'histories');
const names = readdirSync(folder).map((file) => file.replace('.json', ''));

let code: string;

beforeAll(async () => {
  Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('ERROR') });
  const bundle = await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('../../workflows/index.ts', import.meta.url)),
    workflowInterceptorModules: [
      fileURLToPath(new URL('../../workflows/refresh-headers.ts', import.meta.url)),
    ],
    logger: new DefaultLogger('ERROR'),
  });
  code = bundle.code;
});

test('each scenario has its recorded history', () => {
  const recorded = [...scenarios, ...waitScenarios].map(({ name }) => name);
  expect(names.toSorted()).toEqual(recorded.toSorted());
});

// A run that was begun by the code of yesterday goes on with the code of today.
test.each(names)('the history %s replays', async (name) => {
  const json = JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as object;
  const history = proto.temporal.api.history.v1.History.fromObject(json);
  await Worker.runReplayHistory({ workflowBundle: { code } }, history);
});
