import * as oauth from 'oauth4webapi';
import { parseAnswerBody } from './answer-body.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import type { TokenAnswer } from './provider-answer.ts';

const issuer = 'https://provider.invalid';

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
  const response = Response.json(Object.fromEntries(checked));
  try {
    await oauth.processRefreshTokenResponse({ issuer }, { client_id: 'client' }, response);
  } catch (error) {
    // Its messages may quote the answer; its codes do not.
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    return [typeof code === 'string' ? code.toLowerCase() : 'not_conforming'];
  }
  return answer.status === 200 ? [] : ['status_not_200'];
}
