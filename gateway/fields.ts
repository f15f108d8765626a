import { z } from '@hono/zod-openapi';
import { connectionStatuses, identifierPattern } from '../client/contract.ts';
import { Secret } from '../platform/secret.ts';

const textMaxCharacters = 4_096;
const secretMaxCharacters = 65_536;
const cursorMaxCharacters = 2_048;
const listLimitDefault = 50;
const listLimitMax = 500;
const objectMaxBytes = 65_536;
const objectMaxDepth = 32;

/** In Unicode mode only a surrogate without its other half is one. */
const loneSurrogate = /\p{Surrogate}/u;

/** PostgreSQL's text and jsonb hold neither NUL nor half a surrogate pair. */
function isStorable(text: string): boolean {
  return !text.includes('\u0000') && !loneSurrogate.test(text);
}

// eslint-disable-next-line no-control-regex -- a control character in a token or name is a mistake of copying
const plainPattern = /^[^\u0000-\u001f\u007f]*$/;
const mustBePlain = 'must not hold control characters';

export const identifier = z
  .string()
  .regex(identifierPattern, 'must be 1 to 255 of A-Z a-z 0-9 . _ : ~ - and neither . nor ..')
  .openapi({ minLength: 1, maxLength: 255 });

/** The path of everything that belongs to one connection. */
export const connectionParams = z.object({ id: identifier.openapi({ example: 'demo' }) });

/** A route that takes no query parameters refuses every one. */
export const noQuery = z.strictObject({});

/** Text of one line. */
export const line = z
  .string()
  .min(1)
  .max(textMaxCharacters)
  .regex(plainPattern, { error: mustBePlain, abort: true })
  .refine(isStorable, mustBePlain);

/** Write-only: wrapped as soon as it is read, so that nothing after the parse can print it. */
export const secret = z
  .string()
  .min(1)
  .max(secretMaxCharacters)
  .regex(plainPattern, { error: mustBePlain, abort: true })
  .refine(isStorable, mustBePlain)
  .transform((value) => new Secret(value));

/** Text in PEM (RFC 7468): one or more blocks, which have line ends. */
const pem = z
  .string()
  .max(secretMaxCharacters)
  .regex(/^[\t\r\n\x20-\x7e]+$/, 'must be PEM');

export const certificateChain = pem;

/** Write-only, as `secret`. */
export const pemSecret = pem.transform((value) => new Secret(value));

/** A private key as PEM or as a JWK (RFC 7517); wrapped as soon as it is read. */
export const privateKeyText = z
  .union([pem, z.looseObject({ kty: z.string() })], 'must be PEM or a JWK')
  .transform((key) => new Secret(typeof key === 'string' ? key : JSON.stringify(key)))
  .openapi({ type: ['string', 'object'] });

/** A JSON object of the caller's own making, small and shallow enough to store and to answer. */
export const freeObject = z.record(z.string(), z.unknown()).superRefine((value, context) => {
  const fault = freeObjectFault(value);
  if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
});

function freeObjectFault(value: Record<string, unknown>): string | undefined {
  if (!isShallow(value, objectMaxDepth)) return `must be at most ${objectMaxDepth} levels deep`;
  if (!isStorableTree(value)) return 'must not hold NUL or half a surrogate pair';
  return Buffer.byteLength(JSON.stringify(value)) > objectMaxBytes
    ? `must be at most ${objectMaxBytes} bytes as JSON`
    : undefined;
}

function isShallow(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return levels > 0 && Object.values(value).every((member) => isShallow(member, levels - 1));
}

function isStorableTree(value: unknown): boolean {
  if (typeof value === 'string') return isStorable(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(
    ([name, member]) => isStorable(name) && isStorableTree(member),
  );
}

/** A whole number in a query string: digits only, so that neither `1e1` nor ` 1` nor `` passes. */
export function wholeNumber(min: number, max: number) {
  const range = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,16}$/, range)
    .transform(Number)
    .refine((value) => value >= min && value <= max, range)
    .openapi({ type: 'integer', minimum: min, maximum: max });
}

/** A whole number in a body. */
export function wholeJsonNumber(min: number, max: number) {
  return z.int().min(min).max(max);
}

export const pageQuery = {
  limit: wholeNumber(1, listLimitMax)
    .optional()
    .transform((limit) => limit ?? listLimitDefault)
    .openapi({ type: 'integer', minimum: 1, maximum: listLimitMax, default: listLimitDefault }),
  cursor: z
    .string()
    .max(cursorMaxCharacters)
    .regex(/^[A-Za-z0-9._~=+/-]+$/, 'must be as next_cursor gave it')
    .optional()
    .openapi({ description: 'next_cursor of the page before.' }),
};

export const connectionStatusField = z.enum(connectionStatuses);

export const instant = z.iso.datetime({ offset: true }).openapi({
  example: '2026-11-23T20:00:00.000Z',
});

/** A moment of an answer, RFC 3339 in UTC. */
export const answeredInstant = z
  .string()
  .openapi({ format: 'date-time', example: '2026-11-23T20:00:00.000Z' });
