import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const root = new URL('../../', import.meta.url);

/** Sources of the test files by their path without endings, such as `conformance/answers`. */
const tests = new Map(
  readdirSync(new URL('test/', root), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => [
      file.replace(/(?:\.stack)?\.test\.ts$/, ''),
      readFileSync(new URL(`test/${file}`, root), 'utf8'),
    ]),
);
const rows = readFileSync(new URL('docs/reliability.md', root), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const cells = line.split('|').map((cell) => cell.trim());
    const [, file = '', title = ''] = /^`([^`]+)`: (.+)$/.exec(cells.at(-2) ?? '') ?? [];
    return file === '' ? [] : [{ name: cells[1] ?? '', file, title }];
  });

/** What a token manager is to do with each answer, and each lack of one; the numbers between are not ours. */
const cases = [
  ...['R01', 'R02', 'R04', 'R05', 'R06', 'R08', 'R09', 'R11', 'R12', 'R13', 'R14', 'R16', 'R17'],
  ...['R18', 'R19', 'R21', 'R22', 'R23', 'R25', 'R27', 'R28', 'R29', 'R30', 'R31', 'R34', 'R36'],
  ...['R39', 'R41', 'R42', 'R43', 'R44', 'R46', 'R47', 'R48', 'R50', 'R51', 'R52', 'R54'],
];

describe('docs/reliability.md', () => {
  it.each(rows)('$name: $file has a test "$title"', ({ name, file, title }) => {
    const source = tests.get(file) ?? '';
    expect(source).toContain(title);
    if (/^R\d\d$/.test(name)) expect(source).toContain(name);
  });

  it('has each of the 38 conformance cases, which is the name of a test', () => {
    expect(cases).toHaveLength(38);
    const tested = [...tests.values()].flatMap((source) =>
      Array.from(source.matchAll(/['`](R\d\d) /g), ([, name]) => name),
    );
    const documented = rows.map(({ name }) => name).filter((name) => /^R\d\d$/.test(name));
    expect(documented).toEqual(cases);
    expect([...new Set(tested)].toSorted()).toEqual(cases);
  });

  it('has every one of the 38 conformance cases once', () => {
    const cases = rows.map(({ name }) => name).filter((name) => /^R\d\d$/.test(name));
    const left = [3, 7, 10, 15, 20, 24, 26, 32, 33, 35, 37, 38, 40, 45, 49, 53];
    const numbers = Array.from({ length: 54 }, (_, index) => index + 1);
    const wanted = numbers.filter((number) => !left.includes(number));
    expect(wanted).toHaveLength(38);
    expect(cases).toEqual(wanted.map((number) => `R${String(number).padStart(2, '0')}`));
  });

  it('says for each of the 38 lessons which test pins it', () => {
    const lessons = rows.map(({ name }) => name).filter((name) => /^L\d\d$/.test(name));
    const numbers = Array.from({ length: 38 }, (_, index) => index + 1);
    expect(lessons).toEqual(numbers.map((number) => `L${String(number).padStart(2, '0')}`));
  });
});
