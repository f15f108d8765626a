import { generateKeyPairSync, randomBytes, type X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:https';
import { TLSSocket } from 'node:tls';
import Provider, { type ClientMetadata, type JWK } from 'oidc-provider';
import { findFreePort } from '../../dev/ports.ts';
import type { ServerCertificates } from './certificates.ts';

export interface StrictProvider {
  issuer: string;
  tokenUrl: string;
  introspectUrl: string;
  /** A live refresh token of the client. */
  grant(clientId: string): Promise<string>;
  close(): void;
}

/**
 * oidc-provider over TLS, as judge of how clients show themselves: assertions, certificates, proofs of
 * possession with nonces, introspection. `clientAuthority` certifies its clients.
 */
export async function startStrictProvider(options: {
  tls: ServerCertificates;
  clientAuthority: string;
  clients: ClientMetadata[];
}): Promise<StrictProvider> {
  const port = await findFreePort();
  const issuer = `https://127.0.0.1:${port}`;
  const signingAlgs = ['HS256', 'RS256', 'PS256', 'ES256', 'ES512', 'EdDSA'] as const;
  const provider = new Provider(issuer, {
    clients: options.clients.map((client) => ({
      id_token_signed_response_alg: 'ES256',
      ...client,
    })),
    clientAuthMethods: [
      'client_secret_basic',
      'client_secret_post',
      'client_secret_jwt',
      'private_key_jwt',
      'tls_client_auth',
      'self_signed_tls_client_auth',
      'none',
    ],
    enabledJWA: {
      clientAuthSigningAlgValues: [...signingAlgs],
      dPoPSigningAlgValues: ['ES256', 'RS256'],
    },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    jwks: { keys: [createSigningKey()] },
    scopes: ['openid', 'offline_access'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
      mTLS: {
        enabled: true,
        tlsClientAuth: true,
        selfSignedTlsClientAuth: true,
        getCertificate: (context) => peerOf(context.socket)?.toString(),
        certificateAuthorized: (context) =>
          context.socket instanceof TLSSocket && context.socket.authorized,
        certificateSubjectMatches: (context, property, expected) =>
          property === 'tls_client_auth_subject_dn' && peerOf(context.socket)?.subject === expected,
      },
    },
    findAccount: (_context, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  });
  const handle = provider.callback();
  const { key, cert } = options.tls;
  const server = createServer(
    { key, cert, ca: options.clientAuthority, requestCert: true, rejectUnauthorized: false },
    (request, response) => void handle(request, response),
  );
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    issuer,
    tokenUrl: `${issuer}/token`,
    introspectUrl: `${issuer}/token/introspection`,
    async grant(clientId) {
      const client = await provider.Client.find(clientId);
      if (client === undefined) throw new Error('there is no such client');
      const grant = new provider.Grant({ accountId: 'account', clientId });
      grant.addOIDCScope('openid offline_access');
      const refreshToken = new provider.RefreshToken({
        accountId: 'account',
        client,
        grantId: await grant.save(),
        gty: 'authorization_code',
        scope: 'openid offline_access',
      });
      return refreshToken.save();
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function peerOf(socket: unknown): X509Certificate | undefined {
  return socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
}

function createSigningKey(): JWK {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    ...privateKey.export({ format: 'jwk' }),
    kid: 'signing',
    use: 'sig',
    alg: 'ES256',
  };
}
