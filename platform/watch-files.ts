import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const lookEveryMs = 2_000;
/** After a change it looks again so soon, whether all has been written. */
const settleMs = 200;

/** The text of each file in the order of the paths, or why it could not be read. */
export type FileContents = (string | Error)[];

export interface FileWatch {
  close(): void;
}

/**
 * Reports the contents of all files when those of one have changed and stayed the same for two looks, so
 * that files that belong together are not read while they are being replaced. It looks every 2 s at
 * what the paths lead to, for a change may be a symbolic link that leads elsewhere (mounted secrets of
 * Kubernetes), which watching files does not show.
 */
export function watchFiles(options: {
  paths: readonly string[];
  /** What the paths held when they were read last: a change since then is reported too. */
  known: FileContents;
  onChange: (contents: FileContents) => void;
  lookEveryMs?: number;
}): FileWatch {
  const { paths, onChange } = options;
  const intervalMs = options.lookEveryMs ?? lookEveryMs;
  const closing = new AbortController();
  let reported = fingerprint(options.known);
  let seenLast = reported;

  /** Returns whether all stayed as it was. */
  async function look(): Promise<boolean> {
    const contents = await Promise.all(paths.map(readText));
    const seen = fingerprint(contents);
    const isSettled = seen === seenLast;
    seenLast = seen;
    if (isSettled && seen !== reported && !closing.signal.aborted) {
      reported = seen;
      onChange(contents);
    }
    return isSettled;
  }

  async function keepLooking(): Promise<void> {
    for (let pauseMs = intervalMs; !closing.signal.aborted;) {
      await sleep(pauseMs, undefined, { ref: false, signal: closing.signal });
      pauseMs = (await look()) ? intervalMs : Math.min(intervalMs, settleMs);
    }
  }
  // It ends only by being closed: `look` reports what cannot be read instead of throwing.
  keepLooking().catch(() => undefined);
  return { close: () => closing.abort() };
}

async function readText(path: string): Promise<string | Error> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    return error instanceof Error ? error : new Error('unreadable', { cause: error });
  }
}

/** Equal for equal contents; of an error only that there is one. Keys do not stay in memory for it. */
function fingerprint(contents: FileContents): string {
  const texts = contents.map((text) => (typeof text === 'string' ? text : null));
  return createHash('sha256').update(JSON.stringify(texts)).digest('base64');
}
