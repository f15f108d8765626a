import { InvalidArgumentError, type Command } from 'commander';
import type { Operations } from './run-operation.ts';

const itemsDefault = 50;
/** All are in memory at once. */
const itemsMax = 100_000;
const pageMax = 500;

export interface PageOptions {
  limit: number;
  cursor?: string;
}

export interface Listed {
  items: Record<string, unknown>[];
  next_cursor: string | null;
}

/** `--limit` and `--cursor` of every list. */
export function addPageOptions(command: Command, cursorFlag = '--cursor <cursor>'): Command {
  return command
    .option('--limit <n>', `how many at most, up to ${itemsMax}`, readLimit, itemsDefault)
    .option(cursorFlag, 'where an earlier list said that it goes on');
}

/** As many pages as the limit needs. */
export async function listPages(
  { call }: Pick<Operations, 'call'>,
  list: {
    path: string;
    query?: Record<string, string | undefined>;
    /** Name of the parameter that takes a next_cursor. */
    cursorName?: string;
  },
  { limit, cursor }: PageOptions,
): Promise<Listed> {
  const { path, query = {}, cursorName = 'cursor' } = list;
  const given = Object.entries(query).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  const items: Listed['items'] = [];
  let next = cursor ?? null;
  for (;;) {
    const asked = Math.min(limit - items.length, pageMax);
    const parameters = new URLSearchParams([...given, ['limit', String(asked)]]);
    if (next !== null) parameters.set(cursorName, next);
    // The answer of a list, as the service documents it.
    const page = (await call('GET', `${path}?${parameters.toString()}`)) as unknown as Listed;
    items.push(...page.items);
    next = page.next_cursor;
    if (page.items.length < asked || next === null || items.length >= limit) {
      return { items, next_cursor: next };
    }
  }
}

function readLimit(text: string): number {
  const limit = Number(text);
  if (/^\d+$/.test(text) && limit >= 1 && limit <= itemsMax) return limit;
  throw new InvalidArgumentError(`It takes a whole number from 1 to ${itemsMax}.`);
}
