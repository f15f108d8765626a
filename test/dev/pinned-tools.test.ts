import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { findChromium } from '../../dev/chromium.mjs';
import {
  findGoTools,
  findHadolint,
  findKubernetesSchemas,
  mayBeLeftOut,
  ToolMissing,
} from '../../dev/pinned-tools.mjs';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pinned-tools-'));
  cpSync('deploy/tools', join(root, 'deploy', 'tools'), { recursive: true });
  vi.stubEnv('PATH', join(root, 'no-programs'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

describe('a tool of the checks of deploy/', () => {
  it.each([
    ['go', () => findGoTools(root)],
    ['python3', () => findHadolint(root)],
    ['python3', () => findKubernetesSchemas(root, ['1.37.0'])],
  ])('that cannot be had without %s is missing, and leaves nothing half done', (program, find) => {
    expect(find).toThrow(ToolMissing);
    expect(find).toThrow(program);
    const cache = join(root, '.token-manager', 'cache');
    expect(existsSync(cache) ? readdirSync(cache) : []).toEqual([]);
  });
});

describe('a check without its tool', () => {
  it('is left out, but not in CI; what fails otherwise is a failure', () => {
    expect(mayBeLeftOut(new ToolMissing('go: not here'), {})).toBe(true);
    expect(mayBeLeftOut(new ToolMissing('go: not here'), { CI: 'true' })).toBe(false);
    expect(mayBeLeftOut(new Error('a rule is wrong'), {})).toBe(false);
  });
});

describe('Chromium', () => {
  it('is the one that CHROMIUM_PATH names', () => {
    expect(findChromium(root, { CHROMIUM_PATH: '/opt/chromium' })).toBe('/opt/chromium');
  });
});
