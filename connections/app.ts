import type { CredentialKind, RotationClass } from './connection.ts';
import type { Secret } from '../platform/secret.ts';
import type { GrantLifetime } from './grant-lifetime.ts';
import type { ClientCertificate } from './client-certificate.ts';
import type { PrivateKeyInput, PrivateKeyType } from './private-key.ts';

/** The registration of an OAuth client at a provider. */
export interface App {
  id: string;
  provider: string;
  clientId: string;
  /** How many client secrets are stored; the secrets are write-only. */
  clientSecretCount: number;
  /** Null: none is stored. Write-only as well. */
  privateKeyType: PrivateKeyType | null;
  /** Of the certificate shown in TLS handshakes; null: none is stored. */
  clientCertificateExpiresAt: Date | null;
  /** Deep-merged over the provider's definition. */
  overrides: Record<string, unknown>;
  limits: AppLimits;
  /** Who may use it; null for every tenant. */
  tenantIds: string[] | null;
  /** Null beside a reason: until somebody resumes it. */
  pausedUntil: Date | null;
  /** The provider's code that paused it; null: it is not paused. */
  pausedReason: string | null;
  createdAt: Date;
  updatedAt: Date;
}

/** As `PUT /v1/apps` brings them; absent members limit nothing. */
export interface AppLimits {
  /** Sends of the app, over all its connections; the count at most `windowCountMax`. */
  per_window?: { count: number; seconds: number };
  /** Sends of the app under way at once at one host; at most `concurrencyMax`. */
  concurrency?: number;
  /** Least time between two exchanges of one connection of the app. */
  min_interval_seconds?: number;
}

/** Nothing is sent for a paused app; once its time is over, one probe is. */
export function isAppPaused(
  { pausedReason, pausedUntil }: Pick<App, 'pausedReason' | 'pausedUntil'>,
  now: Date,
): boolean {
  return pausedReason !== null && (pausedUntil === null || pausedUntil > now);
}

/** Body of `PUT /v1/apps/{app_id}`; absent members keep what is stored. */
export interface AppInput {
  provider: string;
  clientId: string;
  clientSecrets?: Secret[];
  /** Null takes the stored one away. */
  privateKey?: PrivateKeyInput | null;
  clientCertificate?: ClientCertificate | null;
  overrides?: Record<string, unknown>;
  limits?: AppLimits;
  tenantIds?: string[] | null;
}

/** What connections/ needs to know of a provider's definition; oauth/ answers it. */
export interface ProviderFacts {
  credential: CredentialKind;
  rotationClass: RotationClass;
  /** Origins of the token, refresh, revoke and introspect endpoints as written, templates included. */
  endpointHosts: string[];
  /** Of the variables in those origins: the pattern of each. */
  hostVariablePatterns: Record<string, string>;
  /** Host patterns that bound where the endpoints may be; null: nothing does. */
  allowedHosts: string[] | null;
  /** JWS algorithm of client assertions; null: the app's private key is not used. */
  privateKeyAlg: string | null;
  /** Connections prove possession of a key of their own. */
  needsDpopKey: boolean;
  /** There is an endpoint that revokes tokens (RFC 7009). */
  canRevoke: boolean;
  grantLifetime: GrantLifetime;
}

/** What is known of an imported access token whose body named no lifetime. */
export interface UnstatedLifetime {
  accessToken: Secret;
  /** The lifetime of the token before it, as issued. */
  lastLifetimeSeconds: number | null;
  /** The connection can get another token when this one ends. */
  canRefresh: boolean;
  now: Date;
}

export interface ProviderRules {
  /**
   * Throws `provider_not_found`, or `input_validation` with JSON pointers under `/overrides` when the
   * merged definition is not valid.
   */
  describe(provider: string, overrides: Record<string, unknown>): ProviderFacts;
  /** Throws `input_validation` with pointers under `/variables` for what a template needs or refuses. */
  checkVariables(
    provider: string,
    overrides: Record<string, unknown>,
    variables: Record<string, string>,
  ): void;
  /** Host, and port if it is not the scheme's own, of the URL that refreshes; null: a variable is missing. */
  tokenHost(
    provider: string,
    overrides: Record<string, unknown>,
    variables: Record<string, string>,
  ): string | null;
  /**
   * The expiry policy for a token without a lifetime (docs/api.md, missing `expires_in`); null: it never
   * expires. `clamp` bounds a lifetime and answers null for none.
   */
  assumeLifetime(
    provider: string,
    overrides: Record<string, unknown>,
    token: UnstatedLifetime,
    clamp: (seconds: number | null) => number | null,
  ): { lifetimeSeconds: number | null; assumed: boolean };
}
