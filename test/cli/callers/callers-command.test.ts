import {
  chmodSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createCallersCommand } from '../../../cli/callers/callers-command.ts';
import type { CallerPolicyFile } from '../../../gateway/caller-policy.ts';
import { parseCallerPolicy } from '../../../gateway/caller-policy.ts';
import { createKeyCallers, keyHashOf } from '../../../gateway/callers.ts';

const folder = mkdtempSync(join(tmpdir(), 'callers-command-'));
afterAll(() => rmSync(folder, { recursive: true }));

let path: string;
let printed: string[];
let told: string[];
beforeEach(() => {
  path = join(mkdtempSync(join(folder, 'each-')), 'callers.json');
  printed = [];
  told = [];
  vi.spyOn(console, 'log').mockImplementation((text: string) => void printed.push(text));
  vi.spyOn(console, 'error').mockImplementation((text: string) => void told.push(text));
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = 0;
});

/** Runs the command; returns what it printed, and whether it failed. */
async function run(...args: string[]): Promise<{ out: string; failed: boolean }> {
  printed.length = 0;
  process.exitCode = 0;
  await createCallersCommand().parseAsync([...args, '--file', path], { from: 'user' });
  const failed = process.exitCode === 1;
  return { out: printed.join('\n'), failed };
}

const stored = () => JSON.parse(readFileSync(path, 'utf8')) as CallerPolicyFile;

function callerOfKey(key: string) {
  const callers = createKeyCallers(() => parseCallerPolicy(readFileSync(path, 'utf8')));
  return callers.identify({ clientIdentity: null, authorization: `Bearer ${key}` });
}

const all = ['--scopes', 'tokens:read', '--tenants', '*'];

describe('callers add', () => {
  it('prints a key once, which the file holds as its hash only', async () => {
    const { out: key } = await run('add', 'billing', ...all);
    expect(key).toMatch(/^tmk_[\w-]{43}$/);
    expect(readFileSync(path, 'utf8')).not.toContain(key.slice('tmk_'.length));
    expect(stored().callers).toEqual([
      { name: 'billing', key_hashes: [keyHashOf(key)], scopes: ['tokens:read'], tenants: '*' },
    ]);
    expect(callerOfKey(key).name).toBe('billing');
    expect(told.join()).not.toContain(key);
  });

  it('gives a caller another key, and what is named anew', async () => {
    const { out: first } = await run('add', 'billing', ...all);
    const { out: second } = await run('add', 'billing', '--tenants', 'acme,globex');
    expect(first).not.toBe(second);
    expect([callerOfKey(first).name, callerOfKey(second).name]).toEqual(['billing', 'billing']);
    expect(stored().callers).toMatchObject([
      { scopes: ['tokens:read'], tenants: ['acme', 'globex'] },
    ]);
  });

  it('takes certificates in place of a key', async () => {
    const { out } = await run('add', 'sync', '--match', 'dns:Sync.test', 'uri:a:b', ...all);
    await run('add', 'sync', '--match', 'dns:sync.test');
    expect([out, stored().callers[0]?.match]).toEqual(['', ['dns:Sync.test', 'uri:a:b']]);
  });

  it('changes nothing for a policy that no gateway would take, or that asks for nothing', async () => {
    await run('add', 'billing', ...all);
    const before = readFileSync(path, 'utf8');
    for (const args of [
      ['add', 'new'],
      ['add', 'new', '--scopes', 'tokens:read'],
      ['add', 'new', '--scopes', 'apps:write', '--tenants', 'acme'],
      ['add', 'new\n', ...all],
      ['add', 'new', '--match', 'nobody', ...all],
      ['remove', 'nobody'],
      ['remove', 'billing', '--key', 'sha256:'],
    ]) {
      const { out, failed } = await run(...args);
      expect([args, out, failed]).toEqual([args, '', true]);
      expect(readFileSync(path, 'utf8')).toBe(before);
    }
    expect(readdirSync(join(path, '..'))).toEqual(['callers.json']);
  });

  it('makes a file for its owner, and leaves one open to nobody else than before', async () => {
    const mode = () => statSync(path).mode & 0o777;
    await run('add', 'billing', ...all);
    expect(mode()).toBe(0o600);
    chmodSync(path, 0o644);
    await run('add', 'billing');
    expect(mode()).toBe(0o640);
  });

  it('writes where a link leads, and keeps out whoever edits at the same time', async () => {
    const link = join(path, '..', 'link.json');
    await run('add', 'billing', ...all);
    symlinkSync(path, link);
    const target = path;
    path = link;
    await run('add', 'linked', ...all);
    path = target;
    expect(stored().callers.map(({ name }) => name)).toEqual(['billing', 'linked']);
    writeFileSync(`${path}.new`, '');
    expect((await run('add', 'third', ...all)).failed).toBe(true);
    expect(told.join()).toContain('another edit is under way');
    expect(readdirSync(join(path, '..'))).toContain('callers.json.new');
  });
});

describe('callers list and remove', () => {
  it('shows no more of a key than the beginning of its hash', async () => {
    expect((await run('list')).out).toContain('no callers');
    const { out: key } = await run('add', 'billing', ...all);
    const hash = keyHashOf(key);
    const { out } = await run('list');
    expect(out).toBe(`billing  tokens:read  tenants *\n  key ${hash.slice(0, 19)}`);
    expect((await run('list', '--json')).out).toBe(JSON.stringify(stored()));
  });

  it('removes one key, or the caller', async () => {
    const { out: first } = await run('add', 'billing', ...all);
    const { out: second } = await run('add', 'billing');
    expect((await run('remove', 'billing', '--key', keyHashOf(first).slice(0, 19))).failed).toBe(
      false,
    );
    expect(() => callerOfKey(first)).toThrow();
    expect(callerOfKey(second).name).toBe('billing');
    expect((await run('remove', 'billing', '--key', keyHashOf(second))).failed).toBe(true);
    await run('remove', 'billing');
    expect(stored().callers).toEqual([]);
  });
});

it('without CALLERS_FILE and --file callers says what is missing', async () => {
  vi.stubEnv('CALLERS_FILE', '');
  await createCallersCommand().parseAsync(['list'], { from: 'user' });
  vi.unstubAllEnvs();
  expect([process.exitCode, told.join()]).toEqual([1, expect.stringContaining('CALLERS_FILE')]);
});
