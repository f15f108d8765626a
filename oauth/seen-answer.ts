import { parseAnswerBody } from './answer-body.ts';
import { readPointer } from './json-pointer.ts';
import { classOfOAuthError } from './oauth-errors.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import type { TokenAnswer } from './provider-answer.ts';

const messageLengthMax = 1_000;

/** What judging looks at. */
export interface SeenAnswer {
  status: number;
  members: Record<string, unknown> | undefined;
  isBlank: boolean;
  /** Names an error, in whatever shape. */
  hasError: boolean;
  /** The text of the `error` member, or of the code inside it; empty if there is none. */
  error: string;
  /** What Google and Microsoft write beside the code. */
  subtype: string | null;
  message: string;
}

/** Reads what of an answer its judgement may depend on. Never throws. */
export function readAnswer(
  definition: ProviderDefinition,
  answer: Extract<TokenAnswer, { kind: 'answer' }>,
): SeenAnswer {
  const text = answer.body.reveal();
  const members = parseAnswerBody(text, definition.response.format);
  const error = readPointer(members, '/error');
  const subtype = readPointer(members, '/error_subtype') ?? readPointer(members, '/suberror');
  return {
    status: answer.status,
    members,
    isBlank: text.trim() === '',
    hasError: isError(error),
    error: errorText(error),
    subtype: typeof subtype === 'string' ? subtype : null,
    message: textOf(readPointer(members, '/error_description')),
  };
}

/** Some write the member always, and mean by nothing, zero or an empty list that all is well. */
function isError(error: unknown): boolean {
  if (error === undefined || error === null || error === '' || error === false) return false;
  if (error === 0 || error === '0') return false;
  return typeof error !== 'object' || Object.keys(error).length > 0;
}

/** Of an error that is an object, only a code that everybody knows counts. */
function errorText(error: unknown): string {
  if (typeof error === 'string') return error;
  for (const member of ['/code', '/type', '/error']) {
    const inner = textOf(readPointer(error, member));
    if (classOfOAuthError(inner, '') !== null) return inner;
  }
  return '';
}

/** As much of a provider's text as rules are held against; empty if it is none. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, messageLengthMax) : '';
}

/** Whatever the answer holds under a name that speaks of a secret, however deep. */
export function* secretsIn(members: unknown): Iterable<string> {
  const open: unknown[] = [members];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value !== 'object' || value === null) continue;
    for (const [name, member] of Object.entries(value)) {
      if (typeof member === 'object' && member !== null) open.push(member);
      else if (typeof member === 'string' && /token|secret|assertion|password/i.test(name))
        yield member;
    }
  }
}
