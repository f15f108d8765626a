// The token-manager command from the build, with a temporal.config.json of the run. Plain Node.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const dist = join(import.meta.dirname, '..', '..', 'dist');
const load = (path) => import(pathToFileURL(join(dist, 'cli', path)).href);
const { loadBuiltFiles } = await load('built-files.js');
const { createProgram } = await load('create-program.js');

await createProgram({
  ...loadBuiltFiles(dist),
  configFile: process.env.TEST_CONFIG_FILE,
  allowVolatileDatabase: false,
}).parseAsync();
