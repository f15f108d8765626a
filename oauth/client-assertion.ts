import * as oauth from 'oauth4webapi';
import type { RequestSources, TokenRequest } from './provider-request.ts';
import { importSigningKey } from './signing-key.ts';
import { renderText, renderUrl } from './url-template.ts';

/**
 * RFC 7523 §3 wants assertions to be short-lived, and providers refuse more than 5 minutes; two of them
 * bear a provider's clock that is off by one.
 */
const assertionLifetimeSeconds = 120;
const msPerSecond = 1_000;

/**
 * Client authentication by a JWT (RFC 7523 §2.2), signed with the app's private key or keyed with its
 * client secret. Each call makes an assertion with an id of its own. Null: the key or secret is missing,
 * or a template's value.
 */
export async function assertClient(
  request: TokenRequest,
  sources: RequestSources,
): Promise<oauth.ClientAuth | null> {
  const { definition, clientId, privateKey, variables } = request;
  const { alg, iss, aud } = definition.assertion;
  const issuer = renderText(iss ?? '${client_id}', { ...variables, client_id: clientId });
  // The token URL even where another endpoint is asked: what identifies the provider stays the same.
  const audience =
    aud === null
      ? (renderUrl(definition.tokenUrl, variables)?.href ?? null)
      : renderText(aud, { ...variables, client_id: clientId });
  if (issuer === null || audience === null) return null;
  const claim: oauth.ModifyAssertionFunction = (header, payload) => {
    const now = Math.floor(sources.wallMs() / msPerSecond);
    // The library knows EdDSA by its newer name (RFC 9864), which few providers do.
    header['alg'] = alg;
    payload['iss'] = issuer;
    payload['aud'] = audience;
    payload['jti'] = sources.randomUuid();
    payload['iat'] = now;
    payload['exp'] = now + assertionLifetimeSeconds;
    // A provider whose clock is behind would refuse it, and nothing asks for it.
    delete payload['nbf'];
  };
  const options = { [oauth.modifyAssertion]: claim };
  if (definition.clientAuth === 'client_secret_jwt') {
    const secret = request.clientSecret?.reveal() ?? '';
    return secret === '' ? null : oauth.ClientSecretJwt(secret, options);
  }
  const key = privateKey && (await importSigningKey(privateKey, alg));
  if (privateKey === null || key === null) return null;
  return oauth.PrivateKeyJwt(privateKey.kid === null ? key : { key, kid: privateKey.kid }, options);
}
