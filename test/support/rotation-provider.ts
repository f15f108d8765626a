import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import Provider, { errors, type JWK, type KoaContextWithOIDC } from 'oidc-provider';
import { createRotationAdapter } from './rotation-adapter.ts';
import type { ClassRule, RotationFamilies } from './rotation-families.ts';

const scope = 'openid offline_access api';
const refreshTokenTtlSeconds = 90 * 86_400;
const idTokenTtlSeconds = 300;
/** Between reading a refresh token and consuming it: room for the races that real databases have. */
const accountDelayMs = 5;

/** An OAuth client, which authenticates in the body of its requests, and the class of its tokens. */
export interface RotationClient {
  id: string;
  secret: string;
  rule: ClassRule;
  /** Whether introspection answers this client. */
  introspection: boolean;
}

export interface NewGrant {
  connectionId: string;
  client: RotationClient;
  accessTokenTtlSeconds: number;
}

export interface IssuedGrant {
  access_token: string;
  refresh_token: string;
  /** Seconds. */
  expires_in: number;
}

/**
 * An authorization server with the real endpoints of oidc-provider, `/token`, `/token/introspection`,
 * `/token/revocation` and `/me`, whose rotation class is that of the client.
 */
export function createRotationProvider(options: {
  issuer: string;
  clients: RotationClient[];
  families: RotationFamilies;
  nowMs: () => number;
  /** How long a token answer is held back after everything has happened. */
  answerDelayMs: () => number;
  /** What the end of a refresh token takes with it. */
  revocationEnds: 'grant' | 'token';
}) {
  const { issuer, clients, families, nowMs, answerDelayMs, revocationEnds } = options;
  const provider = new Provider(issuer, {
    adapter: createRotationAdapter({ families, nowMs, revocationEnds }),
    clients: clients.map(({ id, secret }) => ({
      client_id: id,
      client_secret: secret,
      token_endpoint_auth_method: 'client_secret_post',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [`${issuer}/callback`],
      id_token_signed_response_alg: 'ES256',
    })),
    cookies: { keys: [randomBytes(32).toString('hex')] },
    jwks: { keys: [createSigningKey()] },
    scopes: scope.split(' '),
    rotateRefreshToken,
    ttl: {
      AccessToken: (_context, { grantId }) =>
        families.accessTokenTtlSecondsOf(grantId) ?? idTokenTtlSeconds,
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

  /** Class S has nothing to consume, so this is where its exchange happens. */
  function rotateRefreshToken({ oidc }: KoaContextWithOIDC): boolean {
    const { jti, grantId } = oidc.entities.RefreshToken ?? {};
    if (jti === undefined || families.ruleOf(grantId ?? '')?.class !== 'S') return true;
    if (!families.exchange(jti)) throw new errors.InvalidGrant('refresh token was revoked');
    return false;
  }

  provider.use(async (context, next) => {
    await next();
    const { oidc } = context as Partial<KoaContextWithOIDC>;
    if (oidc?.route === 'token') {
      const { error } = (context.body ?? {}) as { error?: string };
      const refreshToken = oidc.params?.['refresh_token'];
      if (error === 'invalid_grant' && typeof refreshToken === 'string') {
        families.countRefusal(refreshToken);
      }
      await sleep(answerDelayMs());
    } else if (oidc?.route === 'introspection') {
      const client = clients.find(({ id }) => id === oidc.client?.clientId);
      if (client?.introspection !== false) return;
      context.status = 403;
      context.body = { error: 'access_denied' };
    } else if (oidc?.route === 'userinfo' && context.status === 200) {
      const accessToken = oidc.entities.AccessToken?.jti;
      if (accessToken !== undefined) families.useAccessToken(accessToken);
    }
  });

  const callback = provider.callback();
  return {
    handler: (request: IncomingMessage, response: ServerResponse): void => {
      void callback(request, response);
    },
    /** As if a customer had just consented; an earlier grant of the connection stays alive. */
    async createGrant(grantOf: NewGrant): Promise<IssuedGrant> {
      const { connectionId, accessTokenTtlSeconds } = grantOf;
      const client = await provider.Client.find(grantOf.client.id);
      if (client === undefined) throw new Error(`Client ${grantOf.client.id} is not registered.`);
      const accountId = connectionId;
      const grant = new provider.Grant({ accountId, clientId: client.clientId });
      grant.addOIDCScope(scope);
      const grantId = await grant.save();
      const { rule } = grantOf.client;
      families.addGrant(grantId, { connectionId, rule, accessTokenTtlSeconds });
      const common = { accountId, client, grantId, gty: 'authorization_code', scope };
      const refreshToken = new provider.RefreshToken({
        ...common,
        // Otherwise finding it demands the login session of a browser.
        expiresWithSession: false,
        authTime: Math.floor(nowMs() / 1_000),
        rotations: 0,
      });
      const accessToken = new provider.AccessToken({ ...common, expiresWithSession: false });
      return {
        access_token: await accessToken.save(),
        refresh_token: await refreshToken.save(),
        expires_in: accessTokenTtlSeconds,
      };
    },
  };
}

/** RFC 7009 section 2.1 and RFC 7662 section 4: a client asks about its own tokens only. */
function isOwnToken(
  _context: unknown,
  client: { clientId: string },
  token: { clientId?: string | undefined },
): boolean {
  return token.clientId === client.clientId;
}

function createSigningKey(): JWK {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' };
}
