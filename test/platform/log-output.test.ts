import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const log = new URL('../../platform/log.ts', import.meta.url).href;
const program = (end: string) => `
  const { createLogger } = await import('${log}');
  const log = createLogger({ subsystem: 'test', level: 'info', pretty: false });
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
    const run = promisify(execFile)(process.execPath, [
      ...['--import', 'tsx', '--input-type=module'],
      ...['--eval', program(end)],
    ]);
    const { stdout } = await run.catch((error: unknown) => error as { stdout: string });
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(81);
    const read = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(read.slice(0, -1).map(({ number }) => number)).toEqual([...Array(80).keys()]);
    expect(read.at(-1)).toMatchObject({ msg: 'last' });
  },
  60_000,
);
