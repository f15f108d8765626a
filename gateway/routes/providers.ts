import { createRoute, z } from '@hono/zod-openapi';
import { TokenManagerError } from '../../client/contract.ts';
import { pageOf, parseCursor } from '../../connections/page-cursor.ts';
import type {
  ProviderDescription,
  ProviderDirectory,
} from '../../connections/provider-directory.ts';
import { answerJson } from '../answer-json.ts';
import { identifier, noQuery, pageQuery } from '../fields.ts';
import type { GatewayApp } from '../gateway-env.ts';
import { pageResponse } from '../page-response.ts';
import { problemResponses, problemsOfCallers } from '../problem-responses.ts';
import { scopes } from '../security-schemes.ts';

const seconds = z.number().min(0).nullable();

const providerAnswer = z
  .object({
    name: z.string(),
    display_name: z.string().nullable(),
    docs: z.array(z.string()).openapi({ description: 'Where the facts come from.' }),
    credential: z.enum(['refresh_token', 'client', 'access_token']),
    client_auth: z.string(),
    dpop: z.boolean(),
    token_url: z.string().nullable().openapi({
      description: 'A template over the variables; null where an app must say it by overrides.',
    }),
    allowed_hosts: z.array(z.string()).nullable(),
    variables: z
      .record(z.string(), z.object({ pattern: z.string() }))
      .openapi({ description: 'What each connection must say in its `variables`.' }),
    rotation: z.object({
      class: z.enum(['S', 'L', 'T', 'C', 'X', 'F']),
      meaning: z.string(),
      grace_seconds: seconds,
      old_access_token_dies: z.boolean(),
    }),
    lifetimes: z.object({
      access_token_default_seconds: seconds,
      access_token_never_expires: z.boolean(),
      refresh_token_idle_seconds: seconds,
      refresh_token_absolute_seconds: seconds,
      keep_alive_seconds: seconds,
    }),
    limits: z.object({
      min_interval_seconds: z.number().min(0),
      per_window: z.object({ count: z.int(), seconds: z.number() }).nullable(),
      concurrency: z.int().nullable(),
    }),
  })
  .openapi('Provider');

const providerExample: z.output<typeof providerAnswer> = {
  name: 'zendesk',
  display_name: 'Zendesk',
  docs: ['https://developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens/'],
  credential: 'refresh_token',
  client_auth: 'post',
  dpop: false,
  token_url: 'https://${subdomain}.zendesk.com/oauth/tokens',
  allowed_hosts: ['*.zendesk.com'],
  variables: { subdomain: { pattern: '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$' } },
  rotation: {
    class: 'X',
    meaning: 'A refresh token is used once; a second use is refused and harms nothing else.',
    grace_seconds: null,
    old_access_token_dies: true,
  },
  lifetimes: {
    access_token_default_seconds: 1_800,
    access_token_never_expires: false,
    refresh_token_idle_seconds: null,
    refresh_token_absolute_seconds: null,
    keep_alive_seconds: null,
  },
  limits: { min_interval_seconds: 1, per_window: null, concurrency: null },
};

const listProvidersRoute = createRoute({
  method: 'get',
  path: '/v1/providers',
  operationId: 'listProviders',
  tags: ['Providers'],
  security: scopes('connections:read'),
  summary: 'A page of the catalogue of providers',
  description:
    'In the order of their names: the definitions that come with the service and those of PROVIDERS_FILE, without the overrides of any app.',
  request: { query: z.strictObject(pageQuery) },
  responses: {
    200: pageResponse({ name: 'ProviderPage', item: providerAnswer, example: providerExample }),
    ...problemResponses(problemsOfCallers),
  },
});

const getProviderRoute = createRoute({
  method: 'get',
  path: '/v1/providers/{name}',
  operationId: 'readProvider',
  tags: ['Providers'],
  security: scopes('connections:read'),
  summary: 'A provider of the catalogue',
  description: 'What an app of it inherits, and what its connections must say.',
  request: {
    params: z.object({ name: identifier.openapi({ example: 'zendesk' }) }),
    query: noQuery,
  },
  responses: {
    200: {
      description: 'The provider.',
      content: { 'application/json': { schema: providerAnswer, example: providerExample } },
    },
    ...problemResponses([...problemsOfCallers, 'provider_not_found']),
  },
});

/** The catalogue, for whoever registers apps. */
export function addProviderRoutes(
  app: GatewayApp,
  { providers }: { providers: ProviderDirectory },
): void {
  app.openapi(listProvidersRoute, (c) => {
    const { limit, cursor } = c.req.valid('query');
    const after = parseCursor(cursor);
    const rows = providers.list().filter(({ name }) => name > after);
    const page = pageOf(rows, limit, (provider) => ({ id: provider.name, provider }));
    const items = page.items.map(({ provider }) => describeProvider(provider));
    return answerJson(c, { items, next_cursor: page.nextCursor }, 200);
  });

  app.openapi(getProviderRoute, (c) => {
    const found = providers.get(c.req.valid('param').name);
    if (found === undefined) throw new TokenManagerError('provider_not_found');
    return answerJson(c, describeProvider(found), 200);
  });
}

function describeProvider(provider: ProviderDescription) {
  const { rotation, lifetimes, limits } = provider;
  return {
    name: provider.name,
    display_name: provider.displayName,
    docs: provider.docs,
    credential: provider.credential,
    client_auth: provider.clientAuth,
    dpop: provider.dpop,
    token_url: provider.tokenUrl,
    allowed_hosts: provider.allowedHosts,
    variables: provider.variables,
    rotation: {
      class: rotation.class,
      meaning: rotation.meaning,
      grace_seconds: rotation.graceSeconds,
      old_access_token_dies: rotation.oldAccessTokenDies,
    },
    lifetimes: {
      access_token_default_seconds: lifetimes.accessTokenDefaultSeconds,
      access_token_never_expires: lifetimes.accessTokenNeverExpires,
      refresh_token_idle_seconds: lifetimes.refreshTokenIdleSeconds,
      refresh_token_absolute_seconds: lifetimes.refreshTokenAbsoluteSeconds,
      keep_alive_seconds: lifetimes.keepAliveSeconds,
    },
    limits: {
      min_interval_seconds: limits.minIntervalSeconds,
      per_window: limits.perWindow,
      concurrency: limits.concurrency,
    },
  };
}
