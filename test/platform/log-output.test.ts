import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, it, vi } from 'vitest';

const log = new URL('../../platform/log.ts', import.meta.url).href;
const prelude = `
  const { createLogger } = await import('${log}');
  const log = createLogger({ subsystem: 'test', level: 'info', pretty: false });
`;
const run = (program: string) => [
  ...['--import', 'tsx', '--input-type=module'],
  ...['--eval', program],
];
const program = (end: string) => `
  ${prelude}
  const write = log.child({ audit: true }).prepare({ action: 'GET' }, 'audit', ['number']);
  for (let number = 0; number < 80; number += 1) write(number);
  log.info('last');
  ${end}
`;

it.each([
  ['exits', 'process.exit(3)'],
  ['dies of an error', 'throw new Error("uncaught")'],
  ['comes to its end', ''],
])(
  'a process that %s has written every line, in order',
  async (_what, end) => {
    const { stdout } = await promisify(execFile)(process.execPath, run(program(end))).catch(
      (error: unknown) => error as { stdout: string },
    );
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(81);
    const read = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(read.slice(0, -1).map(({ number }) => number)).toEqual([...Array(80).keys()]);
    expect(read.at(-1)).toMatchObject({ msg: 'last' });
  },
  60_000,
);

it('a full disk keeps a process from nothing', async () => {
  const child = spawn(
    process.execPath,
    run(`
      ${prelude}
      log.info('one');
      setTimeout(() => { log.info('two'); console.error('at work'); }, 300);
      setTimeout(() => process.exit(7), 600);
    `),
    { stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'] },
  );
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  expect(await once(child, 'close')).toEqual([7, null]);
  expect(stderr).toBe('at work\n');
}, 60_000);

it('lines that nobody reads are bounded, and told of once somebody does', async () => {
  const linesTotal = 100_000;
  const child = spawn(
    process.execPath,
    run(`
      ${prelude}
      const before = process.memoryUsage().rss;
      for (let number = 0; number < ${linesTotal}; number += 1) {
        log.info({ number, text: 'x'.repeat(1_000) }, 'much');
        if (number % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      console.error(Math.round((process.memoryUsage().rss - before) / 1e6));
      process.on('SIGTERM', () => { log.info('last'); process.exit(0); });
      setInterval(() => log.info('alive'), 100);
    `),
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  // The reader sleeps until all was written or lost.
  const [megabytes] = (await once(child.stderr, 'data')) as [Buffer];
  expect(Number(megabytes)).toBeLessThan(60);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  await vi.waitUntil(() => output.includes('are lost'));
  child.kill();
  await once(child.stdout, 'end');
  const lines = output.trimEnd().split('\n');
  const read = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const written = read.filter(({ msg }) => msg === 'much').map(({ number }) => number);
  expect(written).toEqual([...Array(written.length).keys()]);
  expect(written.length).toBeGreaterThan(10_000);
  const lost = read.filter(({ level }) => level === 'warn').map((line) => line['lines']);
  expect(lost).toEqual([linesTotal - written.length]);
  expect(read.at(-1)).toMatchObject({ msg: 'last' });
}, 60_000);
