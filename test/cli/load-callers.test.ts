import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { loadCallers } from '../../cli/load-callers.ts';
import { keyHashOf } from '../../gateway/callers.ts';
import type { FileWatch } from '../../platform/watch-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'load-callers-'));
const watches: (FileWatch | undefined)[] = [];
afterEach(() => {
  for (const watch of watches.splice(0)) watch?.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

const settleMs = { timeout: 15_000, interval: 50 };

function policy(key: string): string {
  const entry = { name: key, key_hashes: [keyHashOf(key)], scopes: ['tokens:read'], tenants: '*' };
  return JSON.stringify({ callers: [entry] });
}

function load(path: string) {
  const log = { info: vi.fn(), error: vi.fn() };
  const { callers, watch } = loadCallers({ file: path, byCertificate: false }, log);
  watches.push(watch);
  const knows = (key: string): boolean => {
    try {
      const authorization = `Bearer ${key}`;
      return callers.identify({ clientIdentity: null, authorization }).name === key;
    } catch {
      return false;
    }
  };
  const untilOnly = (key: string, gone: string) =>
    vi.waitFor(() => expect([knows(key), knows(gone)]).toEqual([true, false]), settleMs);
  return { log, knows, untilOnly };
}

describe('CALLERS_FILE', () => {
  it('is taken again when it is written anew, and kept while it is broken or away', async () => {
    const path = join(folder, 'written.json');
    writeFileSync(path, policy('one'));
    const { log, knows, untilOnly } = load(path);
    writeFileSync(path, policy('two'));
    await untilOnly('two', 'one');
    for (const broken of ['{', '{"callers": [{}]}']) {
      log.error.mockClear();
      writeFileSync(path, broken);
      await vi.waitFor(() => expect(log.error).toHaveBeenCalledOnce(), settleMs);
      expect(knows('two')).toBe(true);
    }
    expect(log.error.mock.calls[0]?.[0]).toHaveProperty('faults');
    unlinkSync(path);
    await vi.waitFor(() => expect(log.error).toHaveBeenCalledTimes(2), settleMs);
    expect(knows('two')).toBe(true);
    writeFileSync(path, policy('three'));
    await untilOnly('three', 'two');
  });

  it('is taken again when another takes its name, and when a link on its way is swapped', async () => {
    // As a volume of Kubernetes is: file -> ..data/file, ..data -> a folder a version.
    const root = mkdtempSync(join(folder, 'volume-'));
    const version = (name: string, key: string) => {
      const versioned = mkdtempSync(join(root, name));
      writeFileSync(join(versioned, 'callers.json'), policy(key));
      return versioned;
    };
    const [data, path] = [join(root, '..data'), join(root, 'callers.json')];
    symlinkSync(version('v', 'one'), data);
    symlinkSync(join('..data', 'callers.json'), path);
    const { untilOnly } = load(path);
    symlinkSync(version('v', 'two'), `${data}_tmp`);
    renameSync(`${data}_tmp`, data);
    await untilOnly('two', 'one');
    const beside = join(root, 'new.json');
    writeFileSync(beside, policy('three'));
    renameSync(beside, path);
    await untilOnly('three', 'two');
  });

  it('that is broken at the start is told with every fault', () => {
    const path = join(folder, 'broken.json');
    writeFileSync(path, '{"callers": [{"name": "a"}], "more": 1}');
    expect(() => load(path)).toThrow(
      new RegExp(`CALLERS_FILE ${path}#/callers/0/scopes [^]*#/callers/0/tenants [^]*#/more `),
    );
  });
});

it('without a file callers are their certificates, or anybody', () => {
  const log = { info: vi.fn(), error: vi.fn() };
  const nobody = { clientIdentity: null, authorization: undefined };
  const byCertificate = loadCallers({ file: undefined, byCertificate: true }, log);
  expect(() => byCertificate.callers.identify(nobody)).toThrow();
  const anybody = loadCallers({ file: undefined, byCertificate: false }, log);
  expect(anybody.callers.identify(nobody).name).toBe('anonymous');
});
