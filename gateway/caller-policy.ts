import { z } from 'zod';
import { identifierPattern, TokenManagerError, type InputFault } from '../client/contract.ts';
import { scopes, type Caller } from './caller.ts';
import { pointerOf } from './input-faults.ts';

const callersMax = 10_000;
const matchesMax = 100;
/** Two while a key is being replaced; more where a caller is many machines. */
const keyHashesMax = 100;
const tenantsMax = 10_000;
const subjectMaxCharacters = 2_048;

const callerName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9 ._:/@-]{0,99}$/,
    'must be 1 to 100 of A-Z a-z 0-9 space . _ : / @ -',
  );

const subject = z
  .string()
  .max(subjectMaxCharacters)
  .regex(/^(?:uri|dns|cn):[^\p{Cc}]+$/u, 'must be uri:…, dns:… or cn:…');

const callerEntry = z
  .strictObject({
    name: callerName.describe('Stands in audit lines; unique.'),
    match: z
      .array(subject)
      .max(matchesMax)
      .optional()
      .describe('With TLS_MODE=mtls: names of its client certificate, any of which will do.'),
    key_hashes: z
      .array(z.string().regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256: and 64 hexadecimal digits'))
      .max(keyHashesMax)
      .optional()
      .describe('Without mtls: SHA-256 of its keys, as `token-manager callers add` makes them.'),
    scopes: z
      .array(z.enum(scopes, `must be one of ${scopes.join(', ')}`))
      .max(scopes.length)
      .describe('What it may do.'),
    tenants: z
      .union(
        [
          z.literal('*'),
          z
            .array(z.string().regex(identifierPattern, 'must be 1 to 255 of A-Z a-z 0-9 . _ : ~ -'))
            .max(tenantsMax),
        ],
        'must be "*" or a list of tenant ids',
      )
      .describe('Whose connections are there for it; "*" is everybody.'),
  })
  .describe('One caller, or machines that are one to this service.');

/** CALLERS_FILE. Its JSON Schema, docs/callers.schema.json, is made from this one (a test keeps them equal). */
export const callerPolicySchema = z.strictObject({
  $schema: z.string().optional(),
  callers: z.array(callerEntry).max(callersMax).describe('Whoever is not here is refused.'),
});

/** The file's contents, checked. */
export type CallerPolicyFile = z.output<typeof callerPolicySchema>;
export type PolicyCaller = CallerPolicyFile['callers'][number];

/** A policy made ready for look-ups. */
export interface CallerPolicy {
  /** By subject, as `comparableSubject` writes it; `place` is that in the file, from 0. */
  bySubject: ReadonlyMap<string, { caller: Caller; place: number }>;
  /** By the hexadecimal SHA-256 of a key. */
  byKeyHash: ReadonlyMap<string, { caller: Caller; digest: Buffer }>;
}

/** Throws one `input_validation` that lists every fault with a JSON pointer. */
export function parseCallerPolicy(text: string): CallerPolicy {
  return compile(parseCallerPolicyFile(text));
}

/** The same for whoever edits the file. */
export function parseCallerPolicyFile(text: string): CallerPolicyFile {
  const parsed = callerPolicySchema.safeParse(parseJson(text));
  const faults = parsed.success
    ? contradictions(parsed.data)
    : parsed.error.issues.flatMap(faultsOf);
  if (!parsed.success || faults.length > 0) throw unusable(faults);
  return parsed.data;
}

/** Names in the DNS have no case (RFC 4343). */
export function comparableSubject(subject: string): string {
  return subject.startsWith('dns:') ? subject.toLowerCase() : subject;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The parser's own words may quote the file.
    throw unusable([{ pointer: '', detail: 'is not JSON' }]);
  }
}

function faultsOf(issue: z.core.$ZodIssue): InputFault[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      pointer: pointerOf([...path, key]),
      detail: 'is not known',
    }));
  }
  if (issue.code === 'invalid_union') {
    // Of a list the faults of its items say more than that it is neither.
    const inner = issue.errors.flat().filter(({ path: below }) => below.length > 0);
    if (inner.length > 0) {
      return inner.flatMap((each) => faultsOf({ ...each, path: [...issue.path, ...each.path] }));
    }
  }
  return [{ pointer: pointerOf(path), detail: issue.message }];
}

/** What each caller says is right, and together it is not. */
function contradictions({ callers }: CallerPolicyFile): InputFault[] {
  const faults: InputFault[] = [];
  const seen = new Map<string, number>();
  const noteUnique = (value: string, place: number, path: string[]) => {
    const before = seen.get(value);
    if (before === undefined) seen.set(value, place);
    else faults.push({ pointer: pointerOf(path), detail: `is that of /callers/${before} too` });
  };
  for (const [place, { name, match = [], key_hashes: hashes = [], ...rest }] of callers.entries()) {
    const path = ['callers', String(place)];
    noteUnique(`name ${name}`, place, [...path, 'name']);
    for (const [at, each] of match.entries()) {
      noteUnique(comparableSubject(each), place, [...path, 'match', String(at)]);
    }
    for (const [at, each] of hashes.entries()) {
      noteUnique(each, place, [...path, 'key_hashes', String(at)]);
    }
    if (match.length + hashes.length === 0) {
      faults.push({ pointer: pointerOf(path), detail: 'needs match or key_hashes' });
    }
    if (rest.tenants !== '*' && rest.scopes.includes('apps:write')) {
      faults.push({
        pointer: pointerOf([...path, 'tenants']),
        detail:
          'must be "*" with apps:write, for an app can send the tokens of every tenant elsewhere',
      });
    }
  }
  return faults;
}

function compile({ callers }: CallerPolicyFile): CallerPolicy {
  const bySubject = new Map<string, { caller: Caller; place: number }>();
  const byKeyHash = new Map<string, { caller: Caller; digest: Buffer }>();
  for (const [place, { name, match = [], key_hashes: hashes = [], ...rest }] of callers.entries()) {
    const tenants = rest.tenants === '*' ? null : new Set(rest.tenants);
    const caller = { name, scopes: new Set(rest.scopes), tenants };
    for (const each of match) bySubject.set(comparableSubject(each), { caller, place });
    for (const each of hashes) {
      const digest = each.slice('sha256:'.length);
      byKeyHash.set(digest, { caller, digest: Buffer.from(digest, 'hex') });
    }
  }
  return { bySubject, byKeyHash };
}

function unusable(faults: InputFault[]): TokenManagerError {
  const lines = faults.map((fault) => {
    const where = 'pointer' in fault ? fault.pointer : fault.parameter;
    return `\n  - ${where === '' ? 'the file' : where} ${fault.detail}`;
  });
  return new TokenManagerError('input_validation', {
    detail: `The callers cannot be used:${lines.join('')}`,
    errors: faults,
  });
}
