import type { z } from '@hono/zod-openapi';
import { TokenManagerError, type InputFault } from '../client/contract.ts';

const faultsMax = 20;

/** Only a member name that cannot be a token is repeated to the caller. */
const harmlessName = /^[a-z_]{1,40}$/;

type Issue = z.core.$ZodIssue;
type Target = 'json' | 'query' | 'param' | (string & {});

/**
 * The faults of a request: JSON pointers (RFC 6901) into the body, or names of parameters. They say
 * what was expected and never repeat what was sent, for that may be a secret.
 */
export function inputValidation(target: Target, error: z.core.$ZodError): TokenManagerError {
  const faults = error.issues.flatMap((issue) => faultsOf(target, issue));
  return new TokenManagerError('input_validation', { errors: faults.slice(0, faultsMax) });
}

function faultsOf(target: Target, issue: Issue): InputFault[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) =>
      harmlessName.test(key)
        ? fault(target, [...path, key], 'is not known')
        : fault(target, path, 'holds a member that is not known'),
    );
  }
  return [fault(target, path, detailOf(target, issue))];
}

function detailOf(target: Target, issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      if (target === 'query') return 'must be given once';
      if (isMissing(issue)) return 'is required';
      return `must be ${nameOf(issue.expected)}`;
    case 'invalid_value':
      return `must be one of ${issue.values.map(String).join(', ')}`;
    case 'too_big':
      return `must be at most ${issue.maximum}${unitOf(issue.origin)}`;
    case 'too_small':
      return `must be at least ${issue.minimum}${unitOf(issue.origin)}`;
    case 'invalid_key':
      return 'has a name that is not allowed';
    case 'custom':
    case 'invalid_format':
      return issue.message;
    case 'invalid_element':
    case 'invalid_union':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return 'is not valid';
  }
}

/** Zod tells a member that is not there from one of another type by its message only. */
function isMissing({ message }: Issue): boolean {
  return message.endsWith('received undefined');
}

/** Zod names types as JavaScript does; the caller wrote JSON. */
function nameOf(expected: string): string {
  switch (expected) {
    case 'record':
    case 'object':
      return 'an object';
    case 'array':
      return 'an array';
    case 'int':
    case 'number':
      return expected === 'int' ? 'a whole number' : 'a number';
    default:
      return `a ${expected}`;
  }
}

function unitOf(origin: string): string {
  if (origin === 'string') return ' characters';
  return origin === 'array' ? ' items' : '';
}

function fault(target: Target, path: string[], detail: string): InputFault {
  if (target === 'json') return { pointer: pointerOf(path), detail };
  return { parameter: path.join('.'), detail };
}

/** A JSON pointer (RFC 6901). */
export function pointerOf(path: string[]): string {
  return path.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
