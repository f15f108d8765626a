import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';

const checkpointSchema = z.strictObject({
  /** Of the file, by which another one is told apart. */
  file: z.string(),
  size_bytes: z.int().min(0),
  /** The last line that is done. */
  line: z.int().min(0),
});

export interface Checkpoint {
  /** The last line that is done; 0: none. */
  read(): Promise<number>;
  write(line: number): Promise<void>;
  remove(): Promise<void>;
}

/**
 * How far the import of a file has got, in a file beside it that is replaced in one step. Throws where that
 * tells of another file.
 */
export function createCheckpoint(
  path: string,
  source: { file: string; sizeBytes: number },
): Checkpoint {
  const file = resolve(source.file);
  return {
    async read() {
      const text = await readFile(path, 'utf8').catch((error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
        throw error;
      });
      if (text === undefined) return 0;
      const stored = checkpointSchema.safeParse(parseJson(text));
      if (!stored.success) throw new Error(`${path} is not a checkpoint: name another file.`);
      if (stored.data.file !== file || stored.data.size_bytes !== source.sizeBytes) {
        throw new Error(
          `${path} is the checkpoint of ${stored.data.file} with ${stored.data.size_bytes} bytes, not of ` +
            `${file} with ${source.sizeBytes}: delete it to begin anew, or name another.`,
        );
      }
      return stored.data.line;
    },
    async write(line) {
      const beside = `${path}.new`;
      await writeFile(beside, JSON.stringify({ file, size_bytes: source.sizeBytes, line }));
      await rename(beside, path);
    },
    remove: () => rm(path, { force: true }),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
