import { readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { loadConfigFile } from '../platform/config-file.ts';
import { endLeftoverPostgres } from './embedded-postgres.ts';
import { localDataIn } from './local-data.ts';
import { SetupError } from './setup-error.ts';
import { findLockOwner } from './stack-lock.ts';
import { endLeftoverTemporal } from './temporal-dev-server.ts';

/** Deletes all local data of a checkout but the downloads. Throws SetupError while a stack runs. */
export async function reset(root: string): Promise<void> {
  const data = localDataIn(root);
  const owner = findLockOwner(data.lock);
  if (owner !== undefined) {
    throw new SetupError(
      `A stack runs on this data, as process ${owner}. End it first: kill ${owner}`,
    );
  }
  const temporalDatabase = resolve(root, loadConfigFile().dev.dbFilename);
  await endLeftoverPostgres(data.postgres);
  await endLeftoverTemporal(temporalDatabase);
  for (const name of readdirSync(data.directory)) {
    const path = join(data.directory, name);
    if (path !== data.cache) rmSync(path, { recursive: true, force: true });
  }
  for (const suffix of ['', '-wal', '-shm']) {
    rmSync(`${temporalDatabase}${suffix}`, { force: true });
  }
  console.log(`Deleted the local data; downloads stay in ${data.cache}.`);
}
