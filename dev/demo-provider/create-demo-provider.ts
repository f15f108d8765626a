import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AdapterFactory, JWK, KoaContextWithOIDC } from 'oidc-provider';

import { answerGrants, answerJson } from './grant-routes.ts';
import type { DemoProviderStats, GrantStore } from './grant-store.ts';
import { createOidcAdapter } from './oidc-adapter.ts';
import { Provider } from './quiet-oidc-provider.ts';

const scope = 'openid offline_access api';
const refreshTokenTtlSeconds = 90 * 86_400;
const idTokenTtlSeconds = 300;
const defaultAccessTokenTtlSeconds = 60;
/** Between reading a refresh token and consuming it: room for the races that real databases have. */
const accountDelayMs = 5;

export interface DemoProviderOptions {
  /** Where it is reached, such as `http://127.0.0.1:8090`; also the base of all its routes. */
  issuer: string;
  store: GrantStore;
  client: { id: string; secret: string };
  /** Default 60. */
  accessTokenTtlSeconds?: number;
  /** How long the token endpoint holds back an answer after everything has happened. Default 0. */
  answerDelayMs?: number;
  /** Another storage over the store; tests prove their detector with a naive one. */
  adapter?: AdapterFactory;
}

interface OwnedToken {
  clientId?: string | undefined;
}

interface IssuedGrant {
  access_token: string;
  refresh_token: string;
  /** Seconds. */
  expires_in: number;
}

export interface DemoProvider {
  issuer: string;
  handler: (request: IncomingMessage, response: ServerResponse) => void;
  /** A new grant as if a customer had just consented; an earlier one of the connection stays alive. */
  createGrant(connectionId: string): Promise<IssuedGrant>;
  stats(): DemoProviderStats;
}

/**
 * A strict OAuth provider (rotation class F) with real semantics: oidc-provider, rotating at each use,
 * ending the family when a spent refresh token comes again. Routes: `/token`, `/token/introspection`,
 * `/token/revocation`, `/me`, `POST /grants {"connection_id"}` and `GET /stats`, the ground truth.
 */
export function createDemoProvider(options: DemoProviderOptions): DemoProvider {
  const { issuer, store, client, answerDelayMs = 0 } = options;
  const accessTokenTtlSeconds = options.accessTokenTtlSeconds ?? defaultAccessTokenTtlSeconds;
  const provider = new Provider(issuer, {
    adapter:
      options.adapter ??
      createOidcAdapter(store, () => (Provider.ctx?.oidc.route === 'token' ? 'reuse' : 'request')),
    clients: [
      {
        client_id: client.id,
        client_secret: client.secret,
        token_endpoint_auth_method: 'client_secret_basic',
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: [`${issuer}/callback`],
        id_token_signed_response_alg: 'ES256',
      },
    ],
    cookies: { keys: [randomBytes(32).toString('hex')] },
    jwks: { keys: [createSigningKey()] },
    scopes: scope.split(' '),
    rotateRefreshToken: true,
    ttl: {
      AccessToken: accessTokenTtlSeconds,
      RefreshToken: refreshTokenTtlSeconds,
      Grant: refreshTokenTtlSeconds,
      IdToken: idTokenTtlSeconds,
    },
    features: {
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: isOwnToken },
      revocation: { enabled: true, allowedPolicy: isOwnToken },
    },
    async findAccount(_context, accountId) {
      await sleep(accountDelayMs);
      return { accountId, claims: () => ({ sub: accountId }) };
    },
  });
  provider.use(async (context, next) => {
    await next();
    const { oidc } = context as Partial<KoaContextWithOIDC>;
    if (oidc?.route !== 'token') return;
    countReuse(context.body, oidc.params?.['refresh_token']);
    // What the client learns must survive us; until the answer leaves, nobody counts on it.
    await store.flush();
    if (answerDelayMs > 0) await sleep(answerDelayMs);
  });

  // A spent token was refused, however the provider came to know it: by its mark, by losing the race,
  // or because its family is gone.
  function countReuse(body: unknown, refreshToken: unknown): void {
    const isRefusal = (body as { error?: string } | undefined)?.error === 'invalid_grant';
    if (!isRefusal || typeof refreshToken !== 'string') return;
    const grantId = store.grantOfSpent(refreshToken);
    if (grantId !== undefined) store.countReuse(grantId);
  }

  async function createGrant(connectionId: string): Promise<IssuedGrant> {
    const registered = await provider.Client.find(client.id);
    if (registered === undefined) throw new Error('The demo client is not registered.');
    const accountId = connectionId;
    const grant = new provider.Grant({ accountId, clientId: client.id });
    grant.addOIDCScope(scope);
    const grantId = await grant.save();
    store.addGrant(grantId, connectionId);
    const common = { accountId, client: registered, grantId, gty: 'authorization_code', scope };
    const refreshToken = new provider.RefreshToken({
      ...common,
      // Otherwise finding it demands the login session of a browser.
      expiresWithSession: false,
      authTime: Math.floor(Date.now() / 1_000),
      rotations: 0,
    });
    const accessToken = new provider.AccessToken({ ...common, expiresWithSession: false });
    const issued = {
      access_token: await accessToken.save(),
      refresh_token: await refreshToken.save(),
      expires_in: accessTokenTtlSeconds,
    };
    await store.flush();
    return issued;
  }

  const oidcHandler = provider.callback();
  return {
    issuer,
    createGrant,
    stats: () => store.stats(),
    handler(request, response) {
      if (request.url === '/grants') {
        void answerGrants(request, response, createGrant);
      } else if (request.url === '/stats' && request.method === 'GET') {
        answerJson(response, 200, store.stats());
      } else {
        void oidcHandler(request, response);
      }
    },
  };
}

/** RFC 7009 section 2.1 and RFC 7662 section 4: a client asks about its own tokens only. */
function isOwnToken(_context: unknown, client: { clientId: string }, token: OwnedToken): boolean {
  return token.clientId === client.clientId;
}

function createSigningKey(): JWK {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' };
}
