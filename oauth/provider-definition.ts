import type { FailureClass } from '../client/contract.ts';
import type { CredentialKind } from '../connections/connection.ts';
import type { GrantLifetime } from '../connections/grant-lifetime.ts';
import type { WireDefinition } from './provider-schema.ts';
import type { Rotation } from './rotation.ts';

/** How a provider's tokens are refreshed and its answers read; all defaults applied. */
export interface ProviderDefinition {
  displayName: string | null;
  /** Where the facts of this definition come from. */
  docs: string[];
  /** URL templates over connection variables: `https://${tenant}.example.com/token`. */
  tokenUrl: string;
  refreshUrl: string | null;
  revokeUrl: string | null;
  introspectUrl: string | null;
  variables: Record<string, VariableRule>;
  /** Host patterns that the filled-in URLs must match; null: any host that egress allows. */
  allowedHosts: string[] | null;
  clientAuth: WireDefinition['client_auth'];
  assertion: AssertionRules;
  /** Each token request carries a proof of possession of the connection's key (RFC 9449). */
  dpop: boolean;
  /** `strict` form-encodes id and secret before Base64 (RFC 6749 §2.3.1); `raw` does not. */
  basicEncoding: 'strict' | 'raw';
  /** Templates over `client_id`, `client_secret` and connection variables, instead of id and secret. */
  basicUser: string | null;
  basicPassword: string | null;
  request: RequestRules;
  credential: CredentialKind;
  grantType: string;
  scope: { send: boolean; separator: string };
  response: ResponseRules;
  expiry: { defaultTtlSeconds: number | null; skewSeconds: number; never: boolean };
  rotation: Rotation;
  ambiguity: AmbiguityRules;
  /** Of the refresh token. */
  lifetime: GrantLifetime;
  errors: ErrorRule[];
  limits: {
    minIntervalSeconds: number;
    perWindow: { count: number; seconds: number } | null;
    concurrency: number | null;
  };
}

/** What client assertions say (RFC 7523 §3). */
export interface AssertionRules {
  /** JWS algorithm: RS256 by default; HS256 where the client secret is the key. */
  alg: string;
  /** Templates over `client_id` and connection variables. Null: the client id, and the token URL. */
  iss: string | null;
  aud: string | null;
}

/** What is done when nobody knows whether a refresh token was spent, and before a verdict is believed. */
export interface AmbiguityRules {
  /** `by_class`: as the rotation class allows; `never_replay`: a refresh token is sent once, whatever came of it. */
  policy: 'by_class' | 'never_replay';
  /** How to ask whether a refresh token still lives, without spending it. */
  probe: 'introspection' | 'none';
  /**
   * A permanent answer must be said twice, so many seconds apart, before it is a verdict: for providers
   * known to say it falsely. Null: once.
   */
  confirmAfterSeconds: number | null;
}

export interface VariableRule {
  /** Matches whole values only. */
  pattern: RegExp;
}

export interface RequestRules {
  method: 'POST' | 'GET';
  bodyFormat: 'form' | 'json' | 'query';
  /** Values are templates over `uuid`, `now` (seconds since 1970), `access_token` and connection variables. */
  params: Record<string, string | number | boolean>;
  omit: string[];
  rename: Record<string, string>;
  headers: Record<string, string>;
}

export interface ResponseRules {
  format: 'json' | 'form' | 'auto';
  /** Null: any status from 200 to 299. */
  successStatus: number[] | null;
  successWhen: PointerTest | null;
  /** JSON pointers into the answer. */
  accessToken: string;
  refreshToken: string;
  expiresIn: { pointer: string; unit: 'seconds' | 'milliseconds' };
  expiresAt: { pointer: string; format: ExpiresAtFormat };
  /** Null: the names in use, `refresh_token_expires_in` and `refresh_expires_in`. */
  refreshExpiresIn: string | null;
  scope: string;
  tokenType: string;
  /** Name by which callers see the value, and where it lies in the answer. */
  metadata: Record<string, string>;
}

export type ExpiresAtFormat = 'iso8601' | 'epoch_s' | 'epoch_ms' | 'auto';

/** Holds if the value at the pointer equals; without `equals`, if there is a value. */
export interface PointerTest {
  pointer: string;
  equals: string | number | boolean | null | undefined;
}

export interface ErrorRule {
  /** All given members must hold. */
  when: {
    status: number[] | null;
    code: string[] | null;
    messageRegex: RegExp | null;
    test: PointerTest | null;
  };
  class: FailureClass;
}
