import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { loadProviders, type LoadedProviders } from '../../cli/load-providers.ts';

const folder = mkdtempSync(join(tmpdir(), 'load-providers-'));
const opened: LoadedProviders[] = [];
afterEach(() => {
  for (const { watch } of opened.splice(0)) watch?.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

const settleMs = { timeout: 15_000, interval: 50 };

function definitions(...tokenUrls: string[]): string {
  return JSON.stringify(
    Object.fromEntries(tokenUrls.map((url, index) => [`own${index}`, { token_url: url }])),
  );
}

function load(contents: string, file = 'providers.json') {
  const path = join(folder, file);
  writeFileSync(path, contents);
  const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const loaded = loadProviders(path, log);
  opened.push(loaded);
  const tokenUrl = (): string => loaded.providers.resolve('own0', {}).tokenUrl;
  return { ...loaded, path, log, tokenUrl };
}

describe('PROVIDERS_FILE', () => {
  it('adds to the catalogue, which is there without it', () => {
    const { providers } = load(definitions('https://a.example/token'));
    expect(providers.names()).toEqual(expect.arrayContaining(['own0', 'google']));
    const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
    const bare = loadProviders(undefined, log);
    expect([bare.providers.names().includes('google'), bare.watch]).toEqual([true, undefined]);
  });

  it('is taken again when it changes, and not while it is broken', async () => {
    const { path, log, providers, tokenUrl } = load(definitions('https://a.example/token'));
    writeFileSync(path, definitions('https://b.example/token', 'https://c.example/token'));
    await vi.waitFor(() => expect(tokenUrl()).toBe('https://b.example/token'), settleMs);
    expect(providers.names()).toContain('own1');
    expect(log.info).toHaveBeenCalledWith(
      { setting: 'PROVIDERS_FILE', path },
      expect.stringContaining('in use'),
    );
    for (const broken of ['{"own0"', '{"own0": {"token_url": 7}}']) {
      log.error.mockClear();
      writeFileSync(path, broken);
      await vi.waitFor(() => expect(log.error).toHaveBeenCalledOnce(), settleMs);
      expect(tokenUrl()).toBe('https://b.example/token');
    }
    rmSync(path);
    await vi.waitFor(() => expect(log.error).toHaveBeenCalledTimes(2), settleMs);
    expect(tokenUrl()).toBe('https://b.example/token');
    writeFileSync(path, definitions('https://d.example/token'));
    await vi.waitFor(() => expect(tokenUrl()).toBe('https://d.example/token'), settleMs);
  }, 90_000);

  it('is followed through a link that is swapped, as volumes do', async () => {
    const link = join(folder, 'linked.json');
    const [first, second] = [join(folder, 'first.json'), join(folder, 'second.json')];
    writeFileSync(first, definitions('https://a.example/token'));
    writeFileSync(second, definitions('https://e.example/token'));
    symlinkSync(first, link);
    const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
    const loaded = loadProviders(link, log);
    opened.push(loaded);
    symlinkSync(second, `${link}.new`);
    renameSync(`${link}.new`, link);
    await vi.waitFor(
      () => expect(loaded.providers.resolve('own0', {}).tokenUrl).toBe('https://e.example/token'),
      settleMs,
    );
  }, 30_000);

  it('refuses to start with a broken file, naming it and every fault', () => {
    const broken = '{"own0": {"token_url": 7, "nonsense": 1}}';
    expect(() => load(broken, 'broken.json')).toThrow(/PROVIDERS_FILE .*broken\.json#\/own0/);
    expect(() => load(broken, 'broken.json')).toThrow(/nonsense/);
    expect(() => load('[]', 'broken.json')).toThrow(/PROVIDERS_FILE .*must be a JSON object/);
  });
});
