import type { Listed } from './list-pages.ts';
import { renderMembers, renderTable, type Column } from './render.ts';

type Item = Record<string, unknown>;

export interface OutputOptions {
  json?: boolean;
}

/** One item: for people, or as the service answers it. */
export function printItem(item: Item, { json }: OutputOptions): void {
  console.log(json === true ? JSON.stringify(item) : renderMembers(item));
}

/** A list: for people a table, and on standard error how to go on. */
export function printList(
  listed: Listed,
  columns: readonly Column<Item>[],
  options: OutputOptions & { none: string; more: string | undefined },
): void {
  if (options.json === true) {
    console.log(JSON.stringify(listed));
    return;
  }
  console.log(renderTable(listed.items, columns, options.none));
  if (options.more !== undefined) console.error(options.more);
}
