import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..', '..');
const sourceEntry = join(root, 'test', 'support', 'run-token-manager.ts');

export interface CommandEnd {
  /** Null where a signal ended it. */
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `token-manager` from the sources to its end, with these variables and nothing else of ours. */
export function runCommand(
  args: string[],
  env: Record<string, string>,
  input = '',
): Promise<CommandEnd> {
  return startCommand(args, env, input).end;
}

/** The same while it runs. */
export function startCommand(
  args: string[],
  env: Record<string, string>,
  input = '',
): { child: ChildProcess; end: Promise<CommandEnd> } {
  const child = spawn(process.execPath, ['--import', 'tsx', sourceEntry, ...args], {
    cwd: root,
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const written = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (written.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (written.stderr += chunk.toString()));
  // A command that ends without reading it is no fault of the test.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  return { child, end: once(child, 'close').then(() => ({ code: child.exitCode, ...written })) };
}
