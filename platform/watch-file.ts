import type { Logger } from './log.ts';
import { watchFiles, type FileWatch } from './watch-files.ts';

export type { FileWatch } from './watch-files.ts';

/**
 * Tells of new contents of one file (see watchFiles). A file that cannot be read, or whose contents
 * `onChange` throws at, is logged once; what was used before stays in use.
 */
export function watchFile(options: {
  path: string;
  /** The variable that names it, for the log. */
  setting: string;
  /** What is in use now. */
  contents: string;
  onChange: (contents: string) => void | Promise<void>;
  log: Pick<Logger, 'info' | 'error'>;
  lookEveryMs?: number;
}): FileWatch {
  const { path, setting, contents: known, onChange, log, lookEveryMs } = options;

  async function take(contents: string | Error | undefined): Promise<void> {
    try {
      if (typeof contents !== 'string') throw contents ?? new Error('nothing was read');
      await onChange(contents);
      log.info({ setting, path }, 'a changed file is in use');
    } catch (error) {
      const faults = error instanceof Error && 'errors' in error ? error.errors : undefined;
      log.error({ setting, path, err: error, faults }, 'a changed file is not used: it is broken');
    }
  }

  return watchFiles({
    paths: [path],
    known: [known],
    onChange: ([contents]) => void take(contents),
    ...(lookEveryMs !== undefined && { lookEveryMs }),
  });
}
