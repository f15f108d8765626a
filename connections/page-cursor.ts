import { identifierPattern, TokenManagerError } from '../client/contract.ts';
import type { Page } from './registry.ts';

/** A number that a bigint holds. */
const sequencePattern = /^\d{1,18}$/;

/** Keyset pages in the order of the id: the cursor is the last id of the page before. */
export function parseCursor(cursor: string | undefined): string {
  if (cursor === undefined) return '';
  return decode(cursor, identifierPattern);
}

/** The same for rows that a sequence numbers; null for the first page. */
export function parseSequenceCursor(cursor: string | undefined): string | null {
  return cursor === undefined ? null : decode(cursor, sequencePattern);
}

function decode(cursor: string, pattern: RegExp): string {
  const id = Buffer.from(cursor, 'base64url').toString('utf8');
  if (pattern.test(id)) return id;
  throw new TokenManagerError('input_validation', {
    errors: [{ parameter: 'cursor', detail: 'must be a next_cursor of an earlier page' }],
  });
}

/** `rows` was asked for with one more than the limit, which tells whether another page follows. */
export function pageOf<Row, Item extends { id: string }>(
  rows: Row[],
  limit: number,
  parse: (row: Row) => Item,
): Page<Item> {
  const items = rows.slice(0, limit).map(parse);
  const last = items.at(-1);
  const isMore = rows.length > limit && last !== undefined;
  return { items, nextCursor: isMore ? Buffer.from(last.id).toString('base64url') : null };
}
