import { readFile } from 'node:fs/promises';
import type { Logger } from './log.ts';

/** Volumes of Kubernetes swap links, which file events miss: the contents are compared instead. */
const watchIntervalMs = 2_000;

export interface FileWatch {
  close(): void;
}

/**
 * Reads a file every 2 s and tells of new contents. A file that cannot be read, or whose contents
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
  intervalMs?: number;
}): FileWatch {
  const { path, setting, onChange, log, intervalMs = watchIntervalMs } = options;
  let seen: string | undefined = options.contents;
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;

  async function look(): Promise<void> {
    try {
      const contents = await readFile(path, 'utf8');
      if (contents === seen || isClosed) return;
      seen = contents;
      await onChange(contents);
      log.info({ setting, path }, 'a changed file is in use');
    } catch (error) {
      // What is written in several steps is soon whole; the same fault is not told twice.
      if (isClosed || (isMissing(error) && seen === undefined)) return;
      if (isMissing(error)) seen = undefined;
      const faults = error instanceof Error && 'errors' in error ? error.errors : undefined;
      log.error({ setting, path, err: error, faults }, 'a changed file is not used: it is broken');
    }
  }

  function lookLater(): void {
    timer = setTimeout(() => {
      void look().then(() => {
        if (!isClosed) lookLater();
      });
    }, intervalMs);
    timer.unref();
  }
  lookLater();

  return {
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

/** The file system said so, rather than the reader of the contents. */
function isMissing(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}
