import * as oauth from 'oauth4webapi';
import type { TokenRequest } from './token-request.ts';
import { renderText } from './url-template.ts';

/** RFC 6749 §2.3: exactly one method. Null: the method needs a secret, and there is none. */
export function clientAuthOf(request: TokenRequest): oauth.ClientAuth | null {
  const { definition } = request;
  if (definition.clientAuth === 'none') return oauth.None();
  const isTemplated = definition.basicUser !== null || definition.basicPassword !== null;
  const secret = request.clientSecret?.reveal() ?? '';
  if (secret === '') return null;
  if (definition.clientAuth === 'post') return oauth.ClientSecretPost(secret);
  if (definition.basicEncoding === 'strict' && !isTemplated) return oauth.ClientSecretBasic(secret);

  const values = { ...request.variables, client_id: request.clientId, client_secret: secret };
  const user = renderText(definition.basicUser ?? '${client_id}', values);
  const password = renderText(definition.basicPassword ?? '${client_secret}', values);
  if (user === null || password === null) return null;
  const encode = definition.basicEncoding === 'strict' ? formEncode : (text: string) => text;
  const pair = Buffer.from(`${encode(user)}:${encode(password)}`, 'utf8').toString('base64');
  return (_server, _client, _body, headers) => {
    headers.set('authorization', `Basic ${pair}`);
  };
}

/** application/x-www-form-urlencoded of one value (RFC 6749 appendix B). */
function formEncode(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1);
}
