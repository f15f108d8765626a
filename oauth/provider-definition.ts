import { z } from 'zod';
import { TokenManagerError, type FailureClass, type InputFault } from '../client/contract.ts';
import type { CredentialKind } from '../connections/connection.ts';
import { jsonPointerPattern, lastToken, toPointer } from './json-pointer.ts';
import { replayBudgetMs, type Rotation } from './rotation.ts';
import { hostPatternPattern, placeholders, urlTemplateFault } from './url-template.ts';

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
  clientAuth: 'basic' | 'post' | 'none';
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
  lifetime: {
    refreshTokenIdleSeconds: number | null;
    refreshTokenAbsoluteSeconds: number | null;
    keepAliveSeconds: number | null;
  };
  errors: ErrorRule[];
  limits: {
    minIntervalSeconds: number;
    perWindow: { count: number; seconds: number } | null;
    concurrency: number | null;
  };
}

export interface VariableRule {
  /** Matches whole values only. */
  pattern: RegExp;
}

export interface RequestRules {
  method: 'POST' | 'GET';
  bodyFormat: 'form' | 'json' | 'query';
  /** Values are templates over `uuid`, `now` (seconds since 1970) and connection variables. */
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

const secondsMax = 20 * 365 * 86_400;
const textLengthMax = 1_024;
const listLengthMax = 100;
const placeholderSources = ['uuid', 'now'];
/** What the connection itself must say; a definition that sets them could split or reroute requests. */
const reservedHeaders = new Set([
  'authorization',
  'connection',
  'content-length',
  'content-type',
  'cookie',
  'expect',
  'host',
  'keep-alive',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

const text = z.string().max(textLengthMax);
const name = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, 'must be 1 to 64 of A-Z a-z 0-9 . _ -');
const seconds = z.number().min(0).max(secondsMax);
const positiveSeconds = z.number().positive().max(secondsMax);
const pointer = text.regex(jsonPointerPattern, 'must be a JSON pointer such as /data/access_token');
const httpStatus = z.int().min(100).max(599);
const primitive = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const urlTemplate = text.superRefine((template, context) => {
  const fault = urlTemplateFault(template);
  if (fault !== null) context.addIssue({ code: 'custom', message: fault });
});
const regex = text.superRefine((source, context) => {
  if (!isRegex(source))
    context.addIssue({ code: 'custom', message: 'is not a regular expression' });
});
const anchoredRegex = regex.refine(
  (source) => source.startsWith('^') && source.endsWith('$'),
  'must be anchored: begin with ^ and end with $',
);
const headerValue = text.regex(/^[\t\x20-\x7e\x80-\xff]*$/, 'must not hold control characters');

const requestSchema = z.strictObject({
  method: z.enum(['POST', 'GET']).default('POST'),
  body_format: z.enum(['form', 'json', 'query']).default('form'),
  params: z.record(name, z.union([text, z.number(), z.boolean()])).default({}),
  omit: z.array(name).max(listLengthMax).default([]),
  rename: z.record(name, name).default({}),
  headers: z
    .record(
      z
        .string()
        .regex(/^[A-Za-z0-9-]{1,64}$/, 'is not a header name')
        .refine((header) => !reservedHeaders.has(header.toLowerCase()), 'may not be set'),
      headerValue,
    )
    .default({}),
});

const responseSchema = z.strictObject({
  format: z.enum(['json', 'form', 'auto']).default('auto'),
  success_status: z.array(httpStatus).min(1).max(listLengthMax).optional(),
  success_when: z.strictObject({ pointer, equals: primitive.optional() }).optional(),
  access_token: pointer.default('/access_token'),
  refresh_token: pointer.default('/refresh_token'),
  expires_in: z
    .union([
      pointer,
      z.strictObject({ pointer, unit: z.enum(['seconds', 'milliseconds']).default('seconds') }),
    ])
    .default('/expires_in'),
  expires_at: z
    .union([
      pointer,
      z.strictObject({
        pointer,
        format: z.enum(['iso8601', 'epoch_s', 'epoch_ms', 'auto']).default('auto'),
      }),
    ])
    .default('/expires_at'),
  refresh_expires_in: pointer.optional(),
  scope: pointer.default('/scope'),
  token_type: pointer.default('/token_type'),
  metadata: z
    .array(z.union([pointer.min(2), z.strictObject({ name, pointer: pointer.min(2) })]))
    .max(listLengthMax)
    .default([]),
});

const errorRuleSchema = z.strictObject({
  when: z
    .strictObject({
      status: z.union([httpStatus, z.array(httpStatus).min(1).max(listLengthMax)]).optional(),
      code: z.union([text, z.array(text).min(1).max(listLengthMax)]).optional(),
      message_regex: regex.optional(),
      pointer: pointer.optional(),
      equals: primitive.optional(),
    })
    .refine((when) => Object.keys(when).length > 0, 'must name at least one condition')
    .refine((when) => !('equals' in when) || when.pointer !== undefined, 'equals needs a pointer'),
  class: z.enum([
    'permanent',
    'transient',
    'ambiguous',
    'misconfigured',
    'rate_limited',
    'protocol_break',
  ]),
});

/** The wire form of a provider definition: what catalogue files, PROVIDERS_FILE and overrides hold. */
export const providerDefinitionSchema = z
  .strictObject({
    display_name: text.optional(),
    docs: z
      .array(z.url({ protocol: /^https$/ }))
      .max(listLengthMax)
      .default([]),
    token_url: urlTemplate,
    refresh_url: urlTemplate.optional(),
    revoke_url: urlTemplate.optional(),
    introspect_url: urlTemplate.optional(),
    variables: z
      .record(
        z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, 'is not a lower_case_name'),
        z.strictObject({ pattern: anchoredRegex }),
      )
      .default({}),
    allowed_hosts: z
      .array(text.regex(hostPatternPattern, 'must be a lower-case host name, or *. and a domain'))
      .max(listLengthMax)
      .optional(),
    client_auth: z.enum(['basic', 'post', 'none']).default('post'),
    basic_encoding: z.enum(['strict', 'raw']).default('strict'),
    basic_user: text.optional(),
    basic_password: text.optional(),
    request: requestSchema.prefault({}),
    credential: z.enum(['refresh_token', 'client', 'access_token']).default('refresh_token'),
    grant_type: text.min(1).optional(),
    scope: z
      .strictObject({
        send: z.boolean().default(false),
        separator: z.string().min(1).max(8).default(' '),
      })
      .prefault({}),
    response: responseSchema.prefault({}),
    expiry: z
      .strictObject({
        default_ttl_seconds: positiveSeconds.optional(),
        skew_seconds: seconds.default(0),
        never: z.boolean().default(false),
      })
      .prefault({}),
    rotation: z
      .strictObject({
        class: z.enum(['S', 'L', 'T', 'C', 'X', 'F']).optional(),
        grace_seconds: positiveSeconds.optional(),
        old_access_token_dies: z.boolean().default(false),
      })
      .prefault({}),
    lifetime: z
      .strictObject({
        refresh_token_idle_seconds: positiveSeconds.optional(),
        refresh_token_absolute_seconds: positiveSeconds.optional(),
        keep_alive_seconds: positiveSeconds.optional(),
      })
      .prefault({}),
    errors: z.array(errorRuleSchema).max(listLengthMax).default([]),
    limits: z
      .strictObject({
        min_interval_seconds: seconds.default(1),
        per_window: z
          .strictObject({ count: z.int().positive(), seconds: positiveSeconds })
          .optional(),
        concurrency: z.int().positive().optional(),
      })
      .prefault({}),
  })
  .superRefine((wire, context) => {
    for (const { path, message } of crossFaults(wire)) {
      context.addIssue({ code: 'custom', path, message });
    }
  });

type WireDefinition = z.output<typeof providerDefinitionSchema>;

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

/** Faults between members, which no member shows alone. */
function crossFaults(wire: WireDefinition): { path: PropertyKey[]; message: string }[] {
  const faults: { path: PropertyKey[]; message: string }[] = [];
  const declared = Object.keys(wire.variables);
  const requireDeclared = (template: string, known: string[], path: PropertyKey[]): void => {
    for (const used of placeholders(template).filter((used) => !known.includes(used))) {
      faults.push({
        path,
        message: `uses a placeholder that is not declared: ${used.slice(0, 64)}`,
      });
    }
  };
  for (const member of ['token_url', 'refresh_url', 'revoke_url', 'introspect_url'] as const) {
    requireDeclared(wire[member] ?? '', declared, [member]);
  }
  for (const member of ['params', 'headers'] as const) {
    for (const [key, value] of Object.entries(wire.request[member])) {
      const known = [...placeholderSources, ...declared];
      requireDeclared(String(value), known, ['request', member, key]);
    }
  }
  for (const member of ['basic_user', 'basic_password'] as const) {
    requireDeclared(wire[member] ?? '', ['client_id', 'client_secret', ...declared], [member]);
  }
  if (wire.request.method === 'GET' && wire.request.body_format !== 'query') {
    faults.push({
      path: ['request', 'body_format'],
      message: 'must be query, for GET has no body',
    });
  }
  if (wire.credential === 'access_token' && wire.grant_type === undefined) {
    faults.push({ path: ['grant_type'], message: 'is required with credential access_token' });
  }
  return [...faults, ...rotationFaults(wire)];
}

function rotationFaults(wire: WireDefinition): { path: PropertyKey[]; message: string }[] {
  const { class: rotationClass, grace_seconds: graceSeconds } = wire.rotation;
  if (wire.credential === 'client' && rotationClass !== undefined && rotationClass !== 'S') {
    return [
      { path: ['rotation', 'class'], message: 'must be S: client credentials do not rotate' },
    ];
  }
  const path = ['rotation', 'grace_seconds'];
  if (rotationClass !== 'T') {
    return graceSeconds === undefined
      ? []
      : [{ path, message: 'belongs to rotation class T only' }];
  }
  if (graceSeconds === undefined) return [{ path, message: 'is required by rotation class T' }];
  if (replayBudgetMs(toRotation(wire)) > 0) return [];
  return [{ path, message: 'is too short to replay a lost answer in: choose class F' }];
}

function toRotation(wire: WireDefinition): Rotation {
  // The strictest class is the default; client credentials are not spent by being used.
  const defaultClass = wire.credential === 'client' ? 'S' : 'F';
  return {
    class: wire.rotation.class ?? defaultClass,
    graceSeconds: wire.rotation.grace_seconds ?? null,
    oldAccessTokenDies: wire.rotation.old_access_token_dies,
  };
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
    lifetime: {
      refreshTokenIdleSeconds: wire.lifetime.refresh_token_idle_seconds ?? null,
      refreshTokenAbsoluteSeconds: wire.lifetime.refresh_token_absolute_seconds ?? null,
      keepAliveSeconds: wire.lifetime.keep_alive_seconds ?? null,
    },
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

function isRegex(source: string): boolean {
  try {
    new RegExp(source);
    return true;
  } catch {
    return false;
  }
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
