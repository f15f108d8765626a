import { LRUCache } from 'lru-cache';
import * as oauth from 'oauth4webapi';
import { parseAnswerBody } from './answer-body.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import type { TokenAnswer } from './provider-answer.ts';

const issuer = 'https://provider.invalid';
const shapesMax = 1_000;
const shapeMaxCharacters = 2_000;
/** By the shape of an answer. One provider's answers look alike, and each check costs as much as a statement. */
const knownWarnings = new LRUCache<string, string[]>({ max: shapesMax });
/** Members of which oauth4webapi looks at the value, and not only at its type. */
const valuesThatMatter = new Set(['token_type', 'expires_in']);

/**
 * How an answer departs from RFC 6749 §5.1, as warning codes: what oauth4webapi would have refused. For
 * the log, after the tokens are stored; it decides nothing. The id_token is left out, for a refresh has
 * no use for it. Never rejects.
 */
export async function strictWarnings(
  definition: ProviderDefinition,
  answer: TokenAnswer,
): Promise<string[]> {
  if (answer.kind !== 'answer') return [];
  const members = parseAnswerBody(answer.body.reveal(), definition.response.format) ?? {};
  const checked = Object.entries(members).filter(([name]) => name !== 'id_token');
  const shape = JSON.stringify([answer.status, checked.map(shapeOf)]);
  const known = knownWarnings.get(shape);
  if (known !== undefined) return known;
  const warnings = await check(Object.fromEntries(checked), answer.status);
  if (shape.length <= shapeMaxCharacters) knownWarnings.set(shape, warnings);
  return warnings;
}

/** Of a member: its name and what of its value the check depends on, never a token. */
function shapeOf([name, value]: [string, unknown]): [string, unknown] {
  if (typeof value === 'number') return [name, Math.sign(value)];
  if (valuesThatMatter.has(name)) return [name, { value }];
  if (typeof value === 'string') return [name, value === '' ? 'empty' : 'text'];
  return [name, value === null ? null : typeof value];
}

async function check(members: Record<string, unknown>, status: number): Promise<string[]> {
  const response = Response.json(members);
  try {
    await oauth.processRefreshTokenResponse({ issuer }, { client_id: 'client' }, response);
  } catch (error) {
    // Its messages may quote the answer; its codes do not.
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    return [typeof code === 'string' ? code.toLowerCase() : 'not_conforming'];
  }
  return status === 200 ? [] : ['status_not_200'];
}
