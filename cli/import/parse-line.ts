import { TokenManagerError, type InputFault } from '../../client/contract.ts';
import type { BulkConnection } from '../../connections/bulk-import.ts';
import { connectionBody, readConnectionBody } from '../../gateway/connection-body.ts';
import { identifier } from '../../gateway/fields.ts';
import { inputValidation } from '../../gateway/input-faults.ts';
import type { Line } from './read-lines.ts';

/** A line that was not imported. */
export interface BadLine {
  line: number;
  /** Null where the line tells none. */
  id: string | null;
  error: TokenManagerError;
}

/** A line that may be imported. */
export interface GoodLine extends BulkConnection {
  line: number;
}

export type ParsedLine = { good: GoodLine } | { bad: BadLine };

/** `{"id": …}` with the members of `PUT /v1/connections/{id}`; nothing of a bad line is told but its id. */
export function parseLine({ number: line, text, fault }: Line): ParsedLine {
  const bad = (id: string | null, error: TokenManagerError) => ({ bad: { line, id, error } });
  if (text === undefined)
    return bad(null, faulty({ pointer: '', detail: fault ?? 'is not there' }));
  const json = parseJson(text);
  if (!isObject(json)) return bad(null, faulty({ pointer: '', detail: 'is not a JSON object' }));
  const { id: given, ...body } = json;
  const id = identifier.safeParse(given);
  const input = connectionBody.safeParse(body);
  if (id.success && input.success) {
    return { good: { line, id: id.data, input: readConnectionBody(input.data) } };
  }
  const faults = [
    ...(id.success ? [] : [{ pointer: '/id', detail: idFault(given) }]),
    ...(input.success ? [] : (inputValidation('json', input.error).errors ?? [])),
  ];
  return bad(id.success ? id.data : null, faulty(...faults));
}

function idFault(given: unknown): string {
  if (given === undefined) return 'is missing';
  return 'must be 1 to 255 of A-Z a-z 0-9 . _ : ~ - and neither . nor ..';
}

function faulty(...errors: InputFault[]): TokenManagerError {
  return new TokenManagerError('input_validation', { detail: 'The line is not valid.', errors });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The parser's own words may quote a token.
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
