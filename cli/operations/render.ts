/** A column of a table: its heading, and what it shows of an item. */
export type Column<Item> = [heading: string, text: (item: Item) => unknown];

const columnGap = '  ';

/** A line an item under a line of headings; `none` where there are no items. */
export function renderTable<Item>(
  items: readonly Item[],
  columns: readonly Column<Item>[],
  none: string,
): string {
  if (items.length === 0) return none;
  const rows = [
    columns.map(([heading]) => heading),
    ...items.map((item) => columns.map(([, text]) => renderValue(text(item)))),
  ];
  const widths = columns.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((text, at) => text.padEnd(widths[at] ?? 0))
        .join(columnGap)
        .trimEnd(),
    )
    .join('\n');
}

/** A line a member. */
export function renderMembers(item: Record<string, unknown>): string {
  const width = Math.max(...Object.keys(item).map((name) => name.length));
  return Object.entries(item)
    .map(([name, value]) => `${name.padEnd(width)}${columnGap}${renderValue(value)}`)
    .join('\n');
}

/** On one line, and nothing in it that a terminal would take for a command. */
function renderValue(value: unknown): string {
  if (value === null || value === undefined) return '-';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  // eslint-disable-next-line no-control-regex -- these are what is taken out
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
}
