import type { z } from 'zod';
import { TokenManagerError, type FailureClass, type InputFault } from '../client/contract.ts';
import type { CredentialKind } from '../connections/connection.ts';
import type { GrantLifetime } from '../connections/grant-lifetime.ts';
import { lastToken, toPointer } from './json-pointer.ts';
import {
  toAmbiguityRules,
  toAssertionRules,
  toGrantLifetime,
  toRotation,
} from './definition-rules.ts';
import { providerDefinitionSchema, type WireDefinition } from './provider-schema.ts';
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

/**
 * Parses the wire form of a definition. Throws `input_validation` with `errors: [{pointer, detail}]`,
 * all faults at once, the pointers into `json` (below `prefix`).
 */
export function parseProviderDefinition(json: unknown, prefix = ''): ProviderDefinition {
  const result = providerDefinitionSchema.safeParse(json);
  if (result.success) return toDefinition(result.data);
  throw new TokenManagerError('input_validation', {
    detail: 'The provider definition is not valid.',
    errors: result.error.issues.flatMap((issue) => toFaults(issue, prefix)),
  });
}

function toDefinition(wire: WireDefinition): ProviderDefinition {
  return {
    displayName: wire.display_name ?? null,
    docs: wire.docs,
    tokenUrl: wire.token_url,
    refreshUrl: wire.refresh_url ?? null,
    revokeUrl: wire.revoke_url ?? null,
    introspectUrl: wire.introspect_url ?? null,
    variables: Object.fromEntries(
      Object.entries(wire.variables).map(([variable, { pattern }]) => [
        variable,
        // Wrapped, for the anchors of `^a|b$` bind one side each.
        { pattern: new RegExp(`^(?:${pattern})$`) },
      ]),
    ),
    allowedHosts: wire.allowed_hosts ?? null,
    clientAuth: wire.client_auth,
    assertion: toAssertionRules(wire),
    dpop: wire.dpop,
    basicEncoding: wire.basic_encoding,
    basicUser: wire.basic_user ?? null,
    basicPassword: wire.basic_password ?? null,
    request: {
      method: wire.request.method,
      bodyFormat: wire.request.body_format,
      params: wire.request.params,
      omit: wire.request.omit,
      rename: wire.request.rename,
      headers: wire.request.headers,
    },
    credential: wire.credential,
    grantType: wire.grant_type ?? defaultGrantType(wire.credential),
    scope: wire.scope,
    response: toResponseRules(wire.response),
    expiry: {
      defaultTtlSeconds: wire.expiry.default_ttl_seconds ?? null,
      skewSeconds: wire.expiry.skew_seconds,
      never: wire.expiry.never,
    },
    rotation: toRotation(wire),
    ambiguity: toAmbiguityRules(wire),
    lifetime: toGrantLifetime(wire),
    errors: wire.errors.map(toErrorRule),
    limits: {
      minIntervalSeconds: wire.limits.min_interval_seconds,
      perWindow: wire.limits.per_window ?? null,
      concurrency: wire.limits.concurrency ?? null,
    },
  };
}

function defaultGrantType(credential: CredentialKind): string {
  return credential === 'client' ? 'client_credentials' : 'refresh_token';
}

function toResponseRules(wire: WireDefinition['response']): ResponseRules {
  const { expires_in: expiresIn, expires_at: expiresAt } = wire;
  return {
    format: wire.format,
    successStatus: wire.success_status ?? null,
    successWhen:
      wire.success_when === undefined
        ? null
        : { pointer: wire.success_when.pointer, equals: wire.success_when.equals },
    accessToken: wire.access_token,
    refreshToken: wire.refresh_token,
    expiresIn: typeof expiresIn === 'string' ? { pointer: expiresIn, unit: 'seconds' } : expiresIn,
    expiresAt: typeof expiresAt === 'string' ? { pointer: expiresAt, format: 'auto' } : expiresAt,
    refreshExpiresIn: wire.refresh_expires_in ?? null,
    scope: wire.scope,
    tokenType: wire.token_type,
    metadata: Object.fromEntries(
      wire.metadata.map((pick) =>
        typeof pick === 'string' ? [lastToken(pick), pick] : [pick.name, pick.pointer],
      ),
    ),
  };
}

function toErrorRule(rule: WireDefinition['errors'][number]): ErrorRule {
  const { status, code, message_regex: messageRegex, pointer: at, equals } = rule.when;
  return {
    when: {
      status: status === undefined ? null : [status].flat(),
      code: code === undefined ? null : [code].flat(),
      messageRegex: messageRegex === undefined ? null : new RegExp(messageRegex, 'i'),
      test: at === undefined ? null : { pointer: at, equals },
    },
    class: rule.class,
  };
}

/** One fault an issue, except that every unknown member is a fault of its own. */
function toFaults(issue: z.core.$ZodIssue, prefix: string): InputFault[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      pointer: prefix + toPointer([...issue.path, key]),
      detail: 'is not a member of a provider definition',
    }));
  }
  // The name of a record's member is at fault: zod keeps what is wrong with it one level down.
  const detail =
    issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
  return [{ pointer: prefix + toPointer(issue.path), detail }];
}
