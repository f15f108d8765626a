import { Secret } from '../platform/secret.ts';
import { parseAnswerBody } from './answer-body.ts';
import { readPointer } from './json-pointer.ts';
import type { ExpiresAtFormat, ProviderDefinition } from './provider-definition.ts';
import type { TokenAnswer } from './provider-answer.ts';

const metadataSizeMaxChars = 16 * 1_024;
/** PostgreSQL's jsonb takes a few thousand levels, and nobody means more than these. */
const metadataDepthMax = 32;
const scopeSizeMaxChars = 16 * 1_024;
const tokenTypePattern = /^[\x21-\x7e]{1,255}$/;
/** Beyond this a lifetime is a mistake, and beyond some point no date. */
const refreshLifetimeMaxSeconds = 20 * 365 * 86_400;
/** Seconds since 1970 stay below this until the year 5138; milliseconds were above it from 1973 on. */
const epochSecondsMax = 1e11;
const msPerSecond = 1_000;
/** Names in use for the lifetime of the new refresh token, which no RFC has named. */
const refreshExpiresInPointers = ['/refresh_token_expires_in', '/refresh_expires_in'];

/** What an answer holds, before anybody judges it. */
export interface ExtractedTokens {
  accessToken: Secret | null;
  /** Null: the answer brought none, and the old one stays (RFC 6749 §6). */
  refreshToken: Secret | null;
  /** As written, not clamped. */
  expiresInSeconds: number | null;
  expiresAt: Date | null;
  refreshExpiresInSeconds: number | null;
  /** Separated by spaces. */
  scope: string | null;
  tokenType: string | null;
  metadata: Record<string, unknown>;
  /** What was odd, as codes; never a provider's text. */
  warnings: string[];
}

/**
 * Reads whatever tokens an answer holds, however malformed the rest is, so that they can be kept before
 * they are judged. Null: nothing to read. Never throws.
 */
export function extractTokens(
  definition: ProviderDefinition,
  answer: TokenAnswer,
): ExtractedTokens | null {
  if (answer.kind !== 'answer') return null;
  const rules = definition.response;
  const members = parseAnswerBody(answer.body.reveal(), rules.format);
  if (members === undefined) return null;

  const warnings: string[] = [];
  const accessToken = readToken(members, rules.accessToken, 'access_token', warnings);
  const refreshToken = readToken(members, rules.refreshToken, 'refresh_token', warnings);
  return {
    accessToken,
    refreshToken,
    expiresInSeconds: readExpiresIn(members, definition, warnings),
    expiresAt: toDate(readPointer(members, rules.expiresAt.pointer), rules.expiresAt.format),
    refreshExpiresInSeconds: readRefreshExpiresIn(members, rules.refreshExpiresIn),
    scope: readScope(members, definition, warnings),
    tokenType: readTokenType(members, rules.tokenType, warnings),
    metadata: readMetadata(members, rules.metadata, [accessToken, refreshToken], warnings),
    warnings,
  };
}

/** Tokens are kept as they are, whatever their length (RFC 6749 §5.1 assumes none). */
function readToken(
  members: unknown,
  pointer: string,
  name: string,
  warnings: string[],
): Secret | null {
  const value = readPointer(members, pointer);
  if (value === undefined) return null;
  if (typeof value === 'string' && value !== '') return new Secret(value);
  if (value === null) warnings.push(`${name}_null`);
  else warnings.push(value === '' ? `${name}_empty` : `${name}_not_text`);
  return null;
}

function readExpiresIn(
  members: unknown,
  definition: ProviderDefinition,
  warnings: string[],
): number | null {
  const { pointer, unit } = definition.response.expiresIn;
  const value = readPointer(members, pointer);
  const number = toNumber(value);
  if (number === null && value !== undefined && value !== null)
    warnings.push('expires_in_not_number');
  if (number === null) return null;
  return unit === 'milliseconds' ? number / msPerSecond : number;
}

function readRefreshExpiresIn(members: unknown, pointer: string | null): number | null {
  for (const candidate of pointer === null ? refreshExpiresInPointers : [pointer]) {
    const number = toNumber(readPointer(members, candidate));
    if (number !== null && number >= 0) return Math.min(number, refreshLifetimeMaxSeconds);
  }
  return null;
}

function toNumber(value: unknown): number | null {
  const isNumeric = typeof value === 'number' || (typeof value === 'string' && value.trim() !== '');
  const number = isNumeric ? Number(value) : NaN;
  return Number.isFinite(number) ? number : null;
}

function toDate(value: unknown, format: ExpiresAtFormat): Date | null {
  const number = format === 'iso8601' ? null : toNumber(value);
  const ms = number === null ? parseIso(value, format) : toEpochMs(number, format);
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? null : date;
}

function parseIso(value: unknown, format: ExpiresAtFormat): number {
  const isReadable = typeof value === 'string' && (format === 'iso8601' || format === 'auto');
  if (!isReadable) return NaN;
  // Without an offset the instant would depend on where this process runs; providers mean UTC.
  const isLocal = /^\d{4}-\d\d-\d\dT[\d:.]+$/.test(value);
  return Date.parse(isLocal ? `${value}Z` : value);
}

function toEpochMs(number: number, format: ExpiresAtFormat): number {
  const isSeconds = format === 'epoch_s' || (format === 'auto' && number < epochSecondsMax);
  return isSeconds ? number * msPerSecond : number;
}

/** What PostgreSQL cannot store must not cost the tokens beside it. */
function readScope(
  members: unknown,
  { response, scope: { separator } }: ProviderDefinition,
  warnings: string[],
): string | null {
  const value = readPointer(members, response.scope);
  const items: unknown[] = Array.isArray(value) ? value : [value];
  const names = items
    .filter((item) => typeof item === 'string')
    .flatMap((item) => item.split(separator))
    .flatMap((item) => item.split(/\s+/))
    .filter((item) => item !== '');
  const scope = names.join(' ');
  if (scope === '') return null;
  if (scope.length <= scopeSizeMaxChars && isStorable(scope)) return scope;
  warnings.push('scope_unusable');
  return null;
}

function readTokenType(members: unknown, pointer: string, warnings: string[]): string | null {
  const value = readPointer(members, pointer);
  if (typeof value !== 'string' || value === '') return null;
  if (tokenTypePattern.test(value)) return value;
  warnings.push('token_type_unusable');
  return null;
}

/** PostgreSQL's text and jsonb hold neither NUL nor half a surrogate pair. */
function isStorable(text: string): boolean {
  return !text.includes('\u0000') && !/\p{Surrogate}/u.test(text);
}

/** Metadata is shown to callers and stored in clear, so what holds one of the tokens is left out. */
function readMetadata(
  members: unknown,
  picks: Record<string, string>,
  tokens: (Secret | null)[],
  warnings: string[],
): Record<string, unknown> {
  const metadata: [string, unknown][] = [];
  let sizeChars = 0;
  for (const [name, pointer] of Object.entries(picks)) {
    const value = readPointer(members, pointer);
    if (value === undefined) continue;
    if (!isShallow(value, metadataDepthMax)) {
      warnings.push('metadata_too_deep');
      continue;
    }
    const text = JSON.stringify(value);
    sizeChars += text.length;
    if (holdsToken(text, tokens)) warnings.push('metadata_holds_token');
    else if (sizeChars > metadataSizeMaxChars) warnings.push('metadata_too_large');
    else if (/\\u(?:0000|d[89a-f])/i.test(text)) warnings.push('metadata_unusable');
    else metadata.push([name, value]);
  }
  return Object.fromEntries(metadata);
}

function isShallow(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return levels > 0 && Object.values(value).every((member) => isShallow(member, levels - 1));
}

function holdsToken(json: string, tokens: (Secret | null)[]): boolean {
  return tokens.some((token) => {
    if (token === null) return false;
    return json.includes(JSON.stringify(token.reveal()).slice(1, -1));
  });
}
