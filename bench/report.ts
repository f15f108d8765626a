import type { Bar, Figure, Findings, Measurement } from './scenario.ts';

const digits = 3;

/** The measurements and the figures as two tables. */
export function renderTables({ figures, measurements }: Findings): string {
  return [
    renderTable([
      ['measured', 'median', 'least', 'most', ''],
      ...measurements.map(({ what, unit, summary }: Measurement) => [
        what,
        ...numbersOf(summary),
        unit,
      ]),
    ]),
    '',
    renderTable([
      ['figure', 'median', 'least', 'most', 'bar', ''],
      ...figures.map(({ name, summary, bar }: Figure) => [
        name,
        ...numbersOf(summary),
        bar === undefined ? '' : renderBar(bar),
        bar === undefined ? '' : holds(summary.median, bar) ? 'holds' : 'MISSED',
      ]),
    ]),
  ].join('\n');
}

/** One line for machines: each figure's median. */
export function renderJson({ figures }: Findings): string {
  return JSON.stringify(
    Object.fromEntries(figures.map(({ name, summary }) => [name, round(summary.median)])),
  );
}

/** A line for each figure that has become much worse than it was. */
export function missedGuards({ figures }: Findings): string[] {
  return figures.flatMap(({ name, summary, guard }) =>
    guard === undefined || holds(summary.median, guard)
      ? []
      : [`${name} is ${round(summary.median)}, and was to be ${renderBar(guard)}`],
  );
}

function holds(value: number, bar: Bar): boolean {
  if ('atLeast' in bar) return value >= bar.atLeast;
  if ('atMost' in bar) return value <= bar.atMost;
  return value === bar.equals;
}

function renderBar(bar: Bar): string {
  if ('atLeast' in bar) return `>= ${bar.atLeast}`;
  if ('atMost' in bar) return `<= ${bar.atMost}`;
  return `= ${bar.equals}`;
}

function numbersOf({ median, least, most }: Figure['summary']): string[] {
  return [median, least, most].map((value) => String(round(value)));
}

function round(value: number): number {
  return Math.abs(value) >= 10 ** digits ? Math.round(value) : Number(value.toPrecision(digits));
}

function renderTable(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 || column > 3
            ? cell.padEnd(widths[column] ?? 0)
            : cell.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
