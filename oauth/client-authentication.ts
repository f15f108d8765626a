import * as oauth from 'oauth4webapi';
import { assertClient } from './client-assertion.ts';
import type { RequestSources, TokenRequest } from './provider-request.ts';
import { renderText } from './url-template.ts';

/**
 * How the client shows itself: exactly one method (RFC 6749 §2.3). Null: the method needs a secret, key or
 * certificate, and there is none.
 */
export async function clientAuthOf(
  request: TokenRequest,
  sources: RequestSources,
): Promise<oauth.ClientAuth | null> {
  const { definition, clientCertificate } = request;
  const secret = request.clientSecret?.reveal() ?? '';
  switch (definition.clientAuth) {
    case 'none':
      return oauth.None();
    case 'tls':
      // The certificate is shown in the handshake; RFC 8705 §2 wants the client's id beside it.
      return clientCertificate === null ? null : oauth.TlsClientAuth();
    case 'private_key_jwt':
    case 'client_secret_jwt':
      return assertClient(request, sources);
    case 'post':
      return secret === '' ? null : oauth.ClientSecretPost(secret);
    case 'basic':
      return secret === '' ? null : basicAuth(request, secret);
  }
}

function basicAuth(request: TokenRequest, secret: string): oauth.ClientAuth | null {
  const { definition } = request;
  const isTemplated = definition.basicUser !== null || definition.basicPassword !== null;
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
