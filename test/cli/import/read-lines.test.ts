import { describe, expect, it } from 'vitest';
import { parseLine } from '../../../cli/import/parse-line.ts';
import { lineMaxBytes, readLines, type Line } from '../../../cli/import/read-lines.ts';
import { renderProgress } from '../../../cli/import/render-progress.ts';
import { renderMembers, renderTable } from '../../../cli/operations/render.ts';

async function linesOf(bytes: Buffer, chunkBytes = bytes.length): Promise<Line[]> {
  async function* chunks() {
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      yield await Promise.resolve(bytes.subarray(at, at + chunkBytes));
    }
  }
  const lines: Line[] = [];
  for await (const line of readLines(chunks())) lines.push(line);
  return lines;
}

describe('the lines of a file', () => {
  const text = '\uFEFF{"a":1}\r\n\n  \n{"é":"\u{1F511}"}\nlast';
  it.each([1, 2, 7, 1_000])('are the same in chunks of %i bytes', async (chunkBytes) => {
    const lines = await linesOf(Buffer.from(text), chunkBytes);
    expect(lines.map(({ number, text: read }) => [number, read])).toEqual([
      [1, '{"a":1}\r'],
      [4, '{"é":"\u{1F511}"}'],
      [5, 'last'],
    ]);
    expect(lines.at(-1)?.endBytes).toBe(Buffer.byteLength(text));
  });

  it('that are too long or no UTF-8 are told, and the next one is read', async () => {
    const bytes = Buffer.concat([
      Buffer.alloc(lineMaxBytes, 0x61),
      Buffer.from('\n'),
      Buffer.alloc(3 * lineMaxBytes, 0x61),
      Buffer.from([0x0a, 0xc3, 0x28, 0x0a]),
      Buffer.from('good'),
    ]);
    const lines = await linesOf(bytes, 65_536);
    expect(lines.map(({ number, text: read, fault }) => [number, read?.length, fault])).toEqual([
      [1, lineMaxBytes, undefined],
      [2, undefined, `is longer than ${lineMaxBytes} bytes`],
      [3, undefined, 'is not UTF-8'],
      [4, 4, undefined],
    ]);
  });
});

describe('a line', () => {
  const parse = (text: string) => parseLine({ number: 7, text, fault: undefined, endBytes: 0 });

  it('is an import with its id', () => {
    const parsed = parse('{"id":"c1","tenant_id":"t","app_id":"a","refresh_token":"canary"}');
    expect(parsed).toMatchObject({
      good: { line: 7, id: 'c1', input: { tenantId: 't', appId: 'a' } },
    });
    expect(JSON.stringify(parsed)).not.toContain('canary');
  });

  it('is told by its faults, and by nothing that it holds but a good id', () => {
    const bad = parse('{"id":"c1","tenant_id":"t","refresh_token":7,"canary":1}');
    expect(bad).toMatchObject({
      bad: { line: 7, id: 'c1', error: { code: 'input_validation' } },
    });
    const errors = 'bad' in bad ? bad.bad.error.errors : undefined;
    expect(errors?.map((fault) => ('pointer' in fault ? fault.pointer : ''))).toEqual([
      '/app_id',
      '/refresh_token',
      '/canary',
    ]);
    expect(parse('{"id":"no canary"}')).toMatchObject({ bad: { id: null } });
    expect(JSON.stringify(parse('{"id": canary'))).not.toContain('canary');
  });
});

describe('progress', () => {
  const facts = { lines: 25_000, refused: 3, doneBytes: 25, totalBytes: 100, elapsedMs: 10_000 };
  it('tells how far, how fast and how long still', () => {
    expect(renderProgress(facts, true)).toBe(
      '[########----------------------]  25 % 25,000 lines, 2,500/s, 3 bad, 30 s left',
    );
    expect(renderProgress(facts, false)).toBe('25 %: 25,000 lines, 2,500/s, 3 bad, 30 s left');
  });

  it('of a pipe tells no share', () => {
    expect(renderProgress({ ...facts, totalBytes: undefined }, true)).toBe(
      '25,000 lines, 2,500/s, 3 bad',
    );
  });
});

describe('a table', () => {
  it('lines its columns up, and hands no control character to a terminal', () => {
    const items = [
      { id: 'a', value: null },
      { id: 'long-id', value: 'x\u001b[2Jy' },
    ];
    const table = renderTable(
      items,
      [
        ['ID', ({ id }) => id],
        ['VALUE', ({ value }) => value],
      ],
      'none',
    );
    expect(table).toBe('ID       VALUE\na        -\nlong-id  x [2Jy');
    expect(renderTable([], [], 'none')).toBe('none');
    expect(renderMembers({ a: 1, long: ['x'] })).toBe('a     1\nlong  ["x"]');
  });
});
