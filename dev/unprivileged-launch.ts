import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync } from 'node:fs';
import { userInfo } from 'node:os';

import { SetupError } from './setup-error.ts';

const userName = 'postgres';

/** How to run a program as a user who is not root: what to put before it, and spawn's options. */
export interface UnprivilegedLaunch {
  prefix: string[];
  options: { uid?: number; gid?: number };
  /** Gives a file or directory to that user. */
  own(path: string): void;
}

/**
 * PostgreSQL refuses to run as root. As an ordinary user nothing is to do; as root (containers) it
 * runs as the user `postgres`, made if missing. `mustReach` are the paths that this user needs: in a
 * checkout below a closed directory such as /root it gets the right to pass closed directories
 * (CAP_DAC_OVERRIDE) rather than having the directories opened for everyone.
 */
export function planUnprivilegedLaunch(mustReach: readonly string[]): UnprivilegedLaunch {
  if (userInfo().uid !== 0) return { prefix: [], options: {}, own: () => undefined };
  const ids = findIds() ?? createUser();
  const own = (path: string): void => chownSync(path, ids.uid, ids.gid);
  if (mustReach.every((path) => isReachable(path, [], ids))) {
    return { prefix: [], options: ids, own };
  }
  const prefix = [
    'setpriv',
    // Without it access(2), with which PostgreSQL looks for its own program, would ignore the right.
    '--securebits=+no_setuid_fixup',
    `--reuid=${ids.uid}`,
    `--regid=${ids.gid}`,
    '--clear-groups',
    '--inh-caps=+dac_override',
    '--ambient-caps=+dac_override',
  ];
  const closed = mustReach.find((path) => !isReachable(path, prefix, {}));
  if (closed === undefined) return { prefix, options: {}, own };
  throw new SetupError(
    `PostgreSQL does not run as root, and the user ${userName} cannot reach ${closed}. ` +
      'Run as an ordinary user, move the checkout to a directory that others may enter, ' +
      'or set DATABASE_URL to a PostgreSQL of your own.',
  );
}

function isReachable(
  path: string,
  prefix: readonly string[],
  options: { uid?: number; gid?: number },
): boolean {
  const [command, ...args] = [...prefix, 'test', '-r', path];
  return spawnSync(command, args, { ...options, cwd: '/' }).status === 0;
}

function findIds(): { uid: number; gid: number } | undefined {
  try {
    const id = (flag: string): number =>
      Number.parseInt(
        execFileSync('id', [flag, userName], { encoding: 'utf8', stdio: 'pipe' }),
        10,
      );
    return { uid: id('-u'), gid: id('-g') };
  } catch {
    return undefined;
  }
}

function createUser(): { uid: number; gid: number } {
  spawnSync('useradd', ['--system', '--user-group', '--no-create-home', userName]);
  const ids = findIds();
  if (ids !== undefined) return ids;
  throw new SetupError(
    `PostgreSQL does not run as root, and the user ${userName} could not be created. ` +
      `Run as an ordinary user, create that user, or set DATABASE_URL to a PostgreSQL of your own.`,
  );
}
