import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { watchFiles, type FileContents, type FileWatch } from '../../platform/watch-files.ts';

const lookEveryMs = 20;
let folder: string;
let watch: FileWatch | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'watch-'));
});
afterEach(() => {
  watch?.close();
  rmSync(folder, { recursive: true });
});

function watchThem(paths: string[], known: string[]): FileContents[] {
  const seen: FileContents[] = [];
  watch = watchFiles({ paths, known, lookEveryMs, onChange: (each) => void seen.push(each) });
  return seen;
}

describe('watched files', () => {
  it('are reported once for each change, all of them together', async () => {
    const paths = ['a', 'b'].map((name) => join(folder, name));
    for (const path of paths) writeFileSync(path, 'old');
    const seen = watchThem(paths, ['old', 'old']);
    await sleep(5 * lookEveryMs);
    expect(seen).toEqual([]);
    writeFileSync(paths[1] ?? '', 'new');
    await vi.waitFor(() => expect(seen).toEqual([['old', 'new']]));
    await sleep(5 * lookEveryMs);
    expect(seen).toHaveLength(1);
  });

  it('are followed through a symbolic link that is swapped, as mounted secrets are', async () => {
    for (const [version, text] of [
      ['v1', 'one'],
      ['v2', 'two'],
    ] as const) {
      mkdirSync(join(folder, version));
      writeFileSync(join(folder, version, 'tls.crt'), text);
    }
    symlinkSync('v1', join(folder, '..data'));
    symlinkSync('..data/tls.crt', join(folder, 'tls.crt'));
    const seen = watchThem([join(folder, 'tls.crt')], ['one']);
    symlinkSync('v2', join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    await vi.waitFor(() => expect(seen).toEqual([['two']]));
  });

  it('are reported as unreadable while they are gone, and again when they are back', async () => {
    const path = join(folder, 'a');
    writeFileSync(path, 'old');
    const seen = watchThem([path], ['old']);
    rmSync(path);
    await vi.waitFor(() => expect(seen).toHaveLength(1));
    expect(seen[0]?.[0]).toBeInstanceOf(Error);
    writeFileSync(path, 'old');
    await vi.waitFor(() => expect(seen[1]).toEqual(['old']));
  });

  it('are reported although the change came before the first look', async () => {
    const path = join(folder, 'a');
    writeFileSync(path, 'new');
    const seen = watchThem([path], ['old']);
    await vi.waitFor(() => expect(seen).toEqual([['new']]));
  });
});
