import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const script = join(import.meta.dirname, 'show-tls.sh');
const gateway = [
  process.execPath,
  '--import',
  'tsx',
  join(root, 'test', 'support', 'run-token-manager.ts'),
  'gateway',
];

it('openssl and curl see every TLS mode do what it says, also while files change under load', async () => {
  const child = spawn(script, gateway, {
    cwd: root,
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  }
  const [code] = (await once(child, 'close')) as [number | null];
  const lines = output.trim().split('\n');
  expect(lines.filter((line) => !line.startsWith('ok '))).toEqual([]);
  expect(code).toBe(0);
  expect(lines.length).toBeGreaterThan(25);
}, 240_000);
