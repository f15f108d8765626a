import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { leftOutStatus } from '../../dev/deploy-check.mjs';

const program = join(import.meta.dirname, '..', '..', 'dev', 'which-chromium.mjs');

/**
 * The path of a Chromium, fetched if need be, which takes up to a minute; or why there is none. Throws
 * where CI is set and there is none.
 */
export async function findChromium(): Promise<{ path: string } | { missing: string }> {
  const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [said] = await Promise.all([text(child.stdout), once(child, 'close')]);
  const status = child.exitCode;
  if (status === 0) return { path: said.trim() };
  if (status === leftOutStatus) return { missing: said.trim() };
  throw new Error(said.trim());
}
