import { z } from 'zod';
import {
  eventTypes,
  identifierPattern,
  TokenManagerError,
  type EventType,
  type InputFault,
} from '../client/contract.ts';
import { Secret } from '../platform/secret.ts';
import type { FeedEvent } from './event-feed.ts';
import type { VisibleTenants } from './registry.ts';

const endpointsMax = 50;
const tenantsMax = 10_000;
const urlMaxCharacters = 2_048;
/** Two while a secret is being replaced. */
const secretsMax = 5;
const secretMinBytes = 24;
const secretMaxBytes = 64;
/** Told of each refresh an endpoint would get little else: only those that name it get it. */
const onlyWhereNamed: EventType = 'connection.refreshed';

/** One endpoint of WEBHOOKS_FILE. */
export interface WebhookEndpoint {
  /** Names its progress in the database, so it outlasts a change of the rest. */
  name: string;
  url: string;
  /** Each signs: receivers may know the old one or the new one. `whsec_` and base64. */
  secrets: Secret[];
  types: ReadonlySet<EventType>;
  tenants: VisibleTenants;
}

const secretText = z
  .string()
  .refine(isSecret, 'must be whsec_ and 24 to 64 bytes in base64')
  .meta({ pattern: '^whsec_[A-Za-z0-9+/]+={0,2}$' });

const endpoint = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, 'must be 1 to 63 of a-z 0-9 _ -')
    .describe('Unique; a new name begins with what happens from then on.'),
  url: z
    .string()
    .max(urlMaxCharacters)
    .refine(isUrl, 'must be an http or https URL without user and fragment')
    .describe('https to a global address, or what EGRESS_ALLOW lists.'),
  secrets: z
    .array(secretText)
    .min(1)
    .max(secretsMax)
    .describe('Standard Webhooks signing secrets; each signs every delivery.'),
  events: z
    .array(z.enum(eventTypes, `must be one of ${eventTypes.join(', ')}`))
    .min(1)
    .optional()
    .describe(`What it is told; all but ${onlyWhereNamed} by default.`),
  tenants: z
    .array(z.string().regex(identifierPattern, 'must be 1 to 255 of A-Z a-z 0-9 . _ : ~ -'))
    .min(1)
    .max(tenantsMax)
    .optional()
    .describe('Whose events; everybody’s by default, and only then those of apps.'),
});

/** WEBHOOKS_FILE. Its JSON Schema, docs/webhooks.schema.json, is made from this one (a test keeps them equal). */
export const webhookFileSchema = z.strictObject({
  $schema: z.string().optional(),
  endpoints: z.array(endpoint).max(endpointsMax).describe('Where events are delivered.'),
});

/** Throws one `input_validation` that lists every fault with a JSON pointer, and no secret. */
export function parseWebhookFile(text: string): WebhookEndpoint[] {
  const parsed = webhookFileSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    throw unusable(
      parsed.error.issues.flatMap((issue) =>
        issue.code === 'unrecognized_keys'
          ? issue.keys.map((key) => faultAt([...issue.path, key], 'is not known'))
          : [faultAt(issue.path, issue.message)],
      ),
    );
  }
  const { endpoints } = parsed.data;
  const names = endpoints.map(({ name }) => name);
  const repeated = names.flatMap((name, at) =>
    names.indexOf(name) === at ? [] : [faultAt(['endpoints', at, 'name'], 'is there twice')],
  );
  if (repeated.length > 0) throw unusable(repeated);
  return endpoints.map(({ name, url, secrets, events, tenants }) => ({
    name,
    url,
    secrets: secrets.map((secret) => new Secret(secret)),
    types: new Set(events ?? eventTypes.filter((type) => type !== onlyWhereNamed)),
    tenants: tenants === undefined ? null : new Set(tenants),
  }));
}

/** Whether an endpoint is told of an event. */
export function isFor(
  { types, tenants }: Pick<WebhookEndpoint, 'types' | 'tenants'>,
  { type, tenantId }: Pick<FeedEvent, 'type' | 'tenantId'>,
): boolean {
  if (!types.has(type)) return false;
  return tenants === null || (tenantId !== null && tenants.has(tenantId));
}

function isSecret(text: string): boolean {
  const base64 = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text)?.[1];
  if (base64 === undefined) return false;
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.toString('base64').replace(/=+$/, '') !== base64.replace(/=+$/, '')) return false;
  return bytes.length >= secretMinBytes && bytes.length <= secretMaxBytes;
}

function isUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, hash } = new URL(text);
  return /^https?:$/.test(protocol) && `${username}${password}${hash}` === '';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The parser's own words may quote a secret.
    throw unusable([{ pointer: '', detail: 'is not JSON' }]);
  }
}

function faultAt(path: PropertyKey[], detail: string): InputFault {
  const parts = path.map((part) => String(part).replaceAll('~', '~0').replaceAll('/', '~1'));
  return { pointer: parts.map((part) => `/${part}`).join(''), detail };
}

function unusable(errors: InputFault[]): TokenManagerError {
  return new TokenManagerError('input_validation', {
    detail: 'The webhook endpoints cannot be used.',
    errors,
  });
}
