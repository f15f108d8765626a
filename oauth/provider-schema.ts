import { z } from 'zod';
import { jsonPointerPattern } from './json-pointer.ts';
import { hostPatternPattern, urlTemplateFault } from './url-template.ts';

const secondsMax = 20 * 365 * 86_400;
/** A verdict may wait this long for its second hearing; callers meet failures meanwhile. */
const confirmAfterMaxSeconds = 3_600;
const textLengthMax = 1_024;
/** Sends of one refresh token, whose times are kept in its connection's row. */
const windowCountMax = 100;
const listLengthMax = 100;
/** Signatures of client assertions (RFC 7518 §3.1, RFC 8037 §3.1). */
const assertionAlgs = [
  'HS256',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const;
/** What the connection itself must say; a definition that sets them could split or reroute requests. */
const reservedHeaders = new Set([
  'authorization',
  'connection',
  'content-length',
  'content-type',
  'cookie',
  'dpop',
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

/** The members of a provider definition on the wire, each by itself. */
export const definitionMembersSchema = z.strictObject({
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
  client_auth: z
    .enum(['basic', 'post', 'none', 'private_key_jwt', 'client_secret_jwt', 'tls'])
    .default('post'),
  assertion: z
    .strictObject({
      alg: z.enum(assertionAlgs).optional(),
      iss: text.min(1).optional(),
      aud: text.min(1).optional(),
    })
    .optional(),
  dpop: z.boolean().default(false),
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
  ambiguity: z
    .strictObject({
      policy: z.enum(['by_class', 'never_replay']).default('by_class'),
      probe: z.enum(['introspection', 'none']).optional(),
      confirm_after_seconds: positiveSeconds.max(confirmAfterMaxSeconds).optional(),
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
        .strictObject({ count: z.int().positive().max(windowCountMax), seconds: positiveSeconds })
        .optional(),
      concurrency: z.int().positive().optional(),
    })
    .prefault({}),
});

/** A definition as written, with the defaults of its members. */
export type WireDefinition = z.output<typeof definitionMembersSchema>;

function isRegex(source: string): boolean {
  try {
    new RegExp(source);
    return true;
  } catch {
    return false;
  }
}
