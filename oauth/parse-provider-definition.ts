import type { z } from 'zod';
import { TokenManagerError, type InputFault } from '../client/contract.ts';
import type { CredentialKind } from '../connections/connection.ts';
import { providerDefinitionSchema } from './definition-faults.ts';
import {
  toAmbiguityRules,
  toAssertionRules,
  toGrantLifetime,
  toRotation,
} from './definition-rules.ts';
import { lastToken, toPointer } from './json-pointer.ts';
import type { ErrorRule, ProviderDefinition, ResponseRules } from './provider-definition.ts';
import type { WireDefinition } from './provider-schema.ts';

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
  const { message } = issue.code === 'invalid_key' ? (issue.issues[0] ?? issue) : issue;
  // Zod tells a member that is not there from one of another type by its message only.
  const isMissing = issue.code === 'invalid_type' && message.endsWith('received undefined');
  const detail = isMissing ? 'is required' : message;
  return [{ pointer: prefix + toPointer(issue.path), detail }];
}
