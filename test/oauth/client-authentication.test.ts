import {
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
  X509Certificate,
  type KeyObject,
} from 'node:crypto';
import { generate } from 'selfsigned';
import type { JWK } from 'oidc-provider';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ClientCertificate } from '../../connections/client-certificate.ts';
import { parsePrivateKey, type PrivateKey } from '../../connections/private-key.ts';
import { extractTokens } from '../../oauth/token-answer.ts';
import type { TokenAnswer } from '../../oauth/provider-answer.ts';
import { createTokenEndpoint, type TokenEndpoint } from '../../oauth/token-endpoint.ts';
import type { TokenRequest } from '../../oauth/provider-request.ts';
import { systemClock } from '../../platform/clock.ts';
import { Secret } from '../../platform/secret.ts';
import { issueCertificates, type ServerCertificates } from '../support/certificates.ts';
import { startScriptedTokenEndpoint } from '../support/scripted-token-endpoint.ts';
import { startStrictProvider, type StrictProvider } from '../support/strict-provider.ts';
import { defineProvider, loopbackEgress, noKeys } from './definitions.ts';

const secret = 'a-client-secret-of-32-characters-or-more';
const keys: Record<string, KeyObject> = {
  RS256: generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey,
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  ES512: generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey,
  EdDSA: generateKeyPairSync('ed25519').privateKey,
};

let provider: StrictProvider;
let tls: ServerCertificates;
let client: ServerCertificates;
let selfSigned: ClientCertificate;

beforeAll(async () => {
  [tls, client] = await Promise.all([issueCertificates(['127.0.0.1']), issueCertificates(['app'])]);
  const own = await generate([{ name: 'commonName', value: 'own' }], { keyType: 'ec' });
  selfSigned = { certificate: own.cert, privateKey: new Secret(own.private) };
  const grants = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
  const signed = { ...grants, token_endpoint_auth_method: 'private_key_jwt' as const };
  provider = await startStrictProvider({
    tls,
    clientAuthority: client.authority,
    clients: [
      ...['RS256', 'PS256', 'ES256', 'ES512', 'EdDSA'].map((alg) => ({
        ...signed,
        client_id: alg,
        token_endpoint_auth_signing_alg: alg as 'RS256',
        jwks: { keys: [publicJwk(keyOf(alg))] },
      })),
      {
        ...grants,
        client_id: 'keyed',
        client_secret: secret,
        token_endpoint_auth_method: 'client_secret_jwt',
      },
      {
        ...grants,
        client_id: 'certified',
        token_endpoint_auth_method: 'tls_client_auth',
        tls_client_auth_subject_dn: 'CN=app',
      },
      {
        ...grants,
        client_id: 'self-signed',
        token_endpoint_auth_method: 'self_signed_tls_client_auth',
        jwks: {
          keys: [{ ...publicJwk(own.public), x5c: [derOf(own.cert)] }],
        },
      },
      {
        client_id: 'public',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: ['https://app.example.com/callback'],
        dpop_bound_access_tokens: true,
      },
      {
        client_id: 'refreshing',
        token_endpoint_auth_method: 'private_key_jwt',
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: ['https://app.example.com/callback'],
        jwks: { keys: [publicJwk(keyOf('ES256'))] },
        token_endpoint_auth_signing_alg: 'ES256',
      },
    ],
  });
});
afterAll(() => {
  provider.close();
});

function keyOf(alg: string): KeyObject {
  const key = keys[alg === 'PS256' ? 'RS256' : alg];
  if (key === undefined) throw new Error('no such key');
  return key;
}

function publicJwk(key: KeyObject | string): JWK {
  return { ...createPublicKey(key).export({ format: 'jwk' }), kid: 'k1', use: 'sig' };
}

function derOf(certificate: string): string {
  return new X509Certificate(certificate).raw.toString('base64');
}

function privateKeyOf(alg: string): PrivateKey {
  const pem = keyOf(alg).export({ type: 'pkcs8', format: 'pem' }).toString();
  return parsePrivateKey({ key: new Secret(pem), kid: 'k1' }, '/private_key');
}

function createEndpoint(): TokenEndpoint {
  return createTokenEndpoint({
    egress: loopbackEgress(),
    clock: systemClock,
    randomUuid: randomUUID,
    trustedCertificates: tls.authority,
  });
}

function requestOf(
  members: Record<string, unknown>,
  given: Partial<TokenRequest> = {},
): TokenRequest {
  return {
    definition: defineProvider({
      token_url: provider.tokenUrl,
      introspect_url: provider.introspectUrl,
      ...members,
    }),
    variables: {},
    clientId: 'client',
    clientSecret: null,
    ...noKeys,
    credential: null,
    scope: null,
    ...given,
  };
}

async function send(request: TokenRequest, endpoint = createEndpoint()): Promise<TokenAnswer> {
  const connection = await endpoint.connect(request);
  if ('kind' in connection) return connection;
  return connection.send({ mayStillSend: () => true, deadlineMs: 5_000 });
}

function bodyOf(answer: TokenAnswer): unknown {
  return answer.kind === 'answer' ? JSON.parse(answer.body.reveal()) : answer;
}

const accepted = expect.objectContaining({ access_token: expect.any(String) as string }) as object;

describe('a strict provider accepts', () => {
  it.each(['RS256', 'PS256', 'ES256', 'ES512', 'EdDSA'])('an assertion in %s', async (alg) => {
    const members = {
      credential: 'client',
      client_auth: 'private_key_jwt',
      assertion: { alg, aud: provider.issuer },
    };
    const request = requestOf(members, { clientId: alg, privateKey: privateKeyOf(alg) });
    expect(bodyOf(await send(request))).toEqual(accepted);
    // It remembers the ids of assertions: a second attempt needs one of its own.
    expect(bodyOf(await send(request))).toEqual(accepted);
  });

  it('an assertion keyed with the client secret', async () => {
    const members = {
      credential: 'client',
      client_auth: 'client_secret_jwt',
      assertion: { aud: provider.issuer },
    };
    const given = { clientId: 'keyed', clientSecret: new Secret(secret) };
    expect(bodyOf(await send(requestOf(members, given)))).toEqual(accepted);
  });

  it('a certificate of its authority, and a certificate that it knows', async () => {
    const members = { credential: 'client', client_auth: 'tls' };
    const clientCertificate = { certificate: client.cert, privateKey: new Secret(client.key) };
    const certified = requestOf(members, { clientId: 'certified', clientCertificate });
    expect(bodyOf(await send(certified))).toEqual(accepted);
    const given = { clientId: 'self-signed', clientCertificate: selfSigned };
    expect(bodyOf(await send(requestOf(members, given)))).toEqual(accepted);
    const stranger = requestOf(members, { ...given, clientId: 'certified' });
    expect(bodyOf(await send(stranger))).toMatchObject({ error: 'invalid_client' });
  });

  it.each(['ES256', 'RS256'])(
    'a proof of possession in %s, once it has told its nonce, and the refresh token again',
    async (alg) => {
      const credential = new Secret(await provider.grant('public'));
      const request = requestOf(
        { client_auth: 'none', dpop: true },
        { clientId: 'public', dpopKey: privateKeyOf(alg), credential },
      );
      const endpoint = createEndpoint();
      expect(bodyOf(await send(request, endpoint))).toMatchObject({ error: 'use_dpop_nonce' });
      const answer = await send(request, endpoint);
      expect(bodyOf(answer)).toMatchObject({ token_type: 'DPoP' });
      expect(extractTokens(request.definition, answer)?.tokenType).toBe('DPoP');
    },
  );

  it('to say whether a refresh token lives, asked with an assertion', async () => {
    const members = {
      client_auth: 'private_key_jwt',
      assertion: { alg: 'ES256', aud: provider.issuer },
    };
    const given = { clientId: 'refreshing', privateKey: privateKeyOf('ES256') };
    const request = requestOf(members, given);
    const endpoint = createEndpoint();
    const token = new Secret(await provider.grant('refreshing'));
    expect(await endpoint.introspect(request, token)).toBe('active');
    expect(await endpoint.introspect(request, new Secret('never-issued'))).toBe('inactive');
    const wrong = { ...request, privateKey: privateKeyOf('ES512') };
    expect(await endpoint.introspect(wrong, token)).toBe('unknown');
  });
});

describe('nothing is spent', () => {
  it.each([
    ['no private key', { client_auth: 'private_key_jwt' }, {}],
    ['no certificate', { client_auth: 'tls' }, {}],
    ['no DPoP key', { dpop: true }, { clientSecret: new Secret(secret) }],
  ])('with %s', async (_name, members, given) => {
    const request = requestOf(members, { credential: new Secret('rt-1'), ...given });
    expect(await send(request)).toEqual({
      kind: 'not_sent',
      class: 'misconfigured',
      code: 'request_incomplete',
    });
  });

  it('where a server that lets in certified clients only tells in the handshake that it wants more', async () => {
    const endpoint = await startScriptedTokenEndpoint({ tls, clientAuthority: client.authority });
    const { refreshToken } = endpoint.grant();
    const request = requestOf(
      { token_url: endpoint.url },
      {
        clientSecret: new Secret(secret),
        credential: new Secret(refreshToken),
      },
    );
    expect(await send(request)).toEqual({
      kind: 'not_sent',
      class: 'misconfigured',
      code: 'tls_client_certificate',
    });
    expect(endpoint.truth().exchanges).toBe(0);
    await endpoint.close();
  });
});
