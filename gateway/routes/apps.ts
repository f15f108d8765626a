import { createRoute, z } from '@hono/zod-openapi';
import { TokenManagerError } from '../../client/contract.ts';
import type { App, AppInput, AppLimits } from '../../connections/app.ts';
import { concurrencyMax, windowCountMax } from '../../connections/app-gate.ts';
import type { ClientCertificate } from '../../connections/client-certificate.ts';
import type { AppRegistry } from '../../connections/registry.ts';
import type { Secret } from '../../platform/secret.ts';
import { callerOf } from '../admit-callers.ts';
import { answerJson } from '../answer-json.ts';
import { isVisible, type Caller } from '../caller.ts';
import {
  answeredInstant,
  certificateChain,
  freeObject,
  identifier,
  line,
  noQuery,
  pageQuery,
  pemSecret,
  privateKeyText,
  secret,
  wholeJsonNumber,
} from '../fields.ts';
import type { GatewayApp } from '../gateway-env.ts';
import { pageResponse } from '../page-response.ts';
import { present } from '../present.ts';
import { problemResponses, problemsOfBodies, problemsOfCallers } from '../problem-responses.ts';
import { scopes } from '../security-schemes.ts';

const clientSecretsMax = 8;
const tenantsMax = 10_000;
const windowSecondsMax = 86_400;
const minIntervalMaxSeconds = 86_400;

const limits = z
  .strictObject({
    per_window: z
      .strictObject({
        count: wholeJsonNumber(1, windowCountMax),
        seconds: wholeJsonNumber(1, windowSecondsMax),
      })
      .optional(),
    concurrency: wholeJsonNumber(1, concurrencyMax).optional(),
    min_interval_seconds: z.number().min(0).max(minIntervalMaxSeconds).optional(),
  })
  .openapi('AppLimits');

const appAnswer = z
  .object({
    id: z.string(),
    provider: z.string(),
    client_id: z.string(),
    client_secret_count: z.int().min(0),
    has_private_key: z.boolean(),
    client_certificate_expires_at: answeredInstant.nullable(),
    overrides: z.record(z.string(), z.unknown()),
    limits,
    tenant_ids: z.array(z.string()).nullable(),
    paused_until: answeredInstant.nullable().openapi({
      description:
        'When one automatic probe is made; null while not paused, or until somebody acts.',
    }),
    paused_reason: z
      .string()
      .nullable()
      .openapi({ description: 'The code with which the provider refuses the app.' }),
    created_at: answeredInstant,
    updated_at: answeredInstant,
  })
  .openapi('App');

/** PEM or a JWK; PEM with a key id in an object of its own. */
const privateKey = z
  .union(
    [
      privateKeyText.transform((key) => ({ key, kid: null })),
      z
        .strictObject({ pem: pemSecret, kid: line })
        .transform(({ pem, kid }) => ({ key: pem, kid })),
    ],
    'must be PEM, a JWK, or an object of pem and kid',
  )
  .openapi({ type: ['string', 'object'] });

const appInput = z
  .strictObject({
    provider: identifier.openapi({
      description: 'A name of GET /v1/providers.',
      example: 'hubspot',
    }),
    client_id: line,
    client_secrets: z
      .array(secret)
      .max(clientSecretsMax)
      .optional()
      .openapi({ description: 'In the order in which they are tried; write-only.' }),
    private_key: privateKey
      .nullable()
      .optional()
      .openapi({
        type: ['string', 'object', 'null'],
        description:
          'Signs client assertions: PKCS#8 PEM, a JWK, or `{"pem", "kid"}`; write-only. Null takes it away.',
      }),
    client_certificate: z
      .strictObject({ certificate: certificateChain, private_key: pemSecret })
      .nullable()
      .optional()
      .openapi({ description: 'A PEM chain and its key, for TLS with the provider; write-only.' }),
    overrides: freeObject.optional().openapi({
      description: 'Members of the provider definition that are different for this app.',
    }),
    limits: limits.optional(),
    tenant_ids: z
      .array(identifier)
      .max(tenantsMax)
      .nullable()
      .optional()
      .openapi({ description: 'The tenants that may use the app; null: all.' }),
  })
  .openapi('AppInput');

const appExample = {
  id: 'hubspot',
  provider: 'hubspot',
  client_id: 'a-client-id',
  client_secret_count: 2,
  has_private_key: false,
  client_certificate_expires_at: null,
  overrides: {},
  limits: { per_window: { count: 100, seconds: 60 }, concurrency: 10 },
  tenant_ids: ['acme'],
  paused_until: null,
  paused_reason: null,
  created_at: '2026-11-23T19:00:00.000Z',
  updated_at: '2026-11-23T19:00:00.000Z',
};

const params = z.object({ app_id: identifier.openapi({ example: 'demo' }) });
const answered = (description: string) => ({
  description,
  content: { 'application/json': { schema: appAnswer, example: appExample } },
});
const appProblems = [...problemsOfCallers, 'store_unavailable'] as const;

const putAppRoute = createRoute({
  method: 'put',
  path: '/v1/apps/{app_id}',
  operationId: 'putApp',
  tags: ['Apps'],
  security: scopes('apps:write'),
  summary: 'Register an OAuth client, or change one; its secrets are write-only',
  description:
    'What the body leaves out stays. A body that may send credentials to another host must bring all stored credentials again. New credentials end a pause of the app.',
  request: {
    params,
    query: noQuery,
    body: {
      required: true,
      content: {
        'application/json': {
          schema: appInput,
          examples: {
            catalogue: {
              summary: 'A provider of the catalogue',
              value: {
                provider: 'hubspot',
                client_id: 'a-client-id',
                client_secrets: ['the-new-secret', 'the-old-secret'],
                limits: { per_window: { count: 100, seconds: 60 } },
              },
            },
            generic: {
              summary: 'Any other provider',
              value: {
                provider: 'generic',
                client_id: 'a-client-id',
                client_secrets: ['a-secret'],
                overrides: {
                  token_url: 'https://${tenant}.example.com/token',
                  variables: { tenant: { pattern: '^[a-z0-9-]{1,63}$' } },
                  client_auth: 'basic',
                  rotation: { class: 'T', grace_seconds: 30 },
                },
              },
            },
          },
        },
      },
    },
  },
  responses: {
    200: answered('Updated.'),
    201: answered('Created.'),
    ...problemResponses([
      ...appProblems,
      ...problemsOfBodies,
      'provider_not_found',
      'key_service_unavailable',
    ]),
  },
});

const getAppRoute = createRoute({
  method: 'get',
  path: '/v1/apps/{app_id}',
  operationId: 'readApp',
  tags: ['Apps'],
  security: scopes('connections:read'),
  summary: 'An app; never its secrets',
  description:
    'Tells how many client secrets it has, and whether a key and a certificate are there.',
  request: { params, query: noQuery },
  responses: {
    200: answered('The app.'),
    ...problemResponses([...appProblems, 'app_not_found']),
  },
});

const resumeAppRoute = createRoute({
  method: 'post',
  path: '/v1/apps/{app_id}/resume',
  operationId: 'resumeApp',
  tags: ['Apps'],
  security: scopes('apps:write'),
  summary: 'End a pause of an app, after its registration was put right at the provider',
  description:
    'May be repeated. The connections of the app refresh again, spread over up to 300 s, one at a time until one succeeds.',
  request: { params, query: noQuery },
  responses: {
    200: answered('The app; its connections are refreshed again, spread over time.'),
    ...problemResponses([...appProblems, 'app_not_found']),
  },
});

const deleteAppRoute = createRoute({
  method: 'delete',
  path: '/v1/apps/{app_id}',
  operationId: 'deleteApp',
  tags: ['Apps'],
  security: scopes('apps:write'),
  summary: 'Delete an app that no connection uses',
  description: 'Its credentials are deleted with it.',
  request: { params, query: noQuery },
  responses: {
    204: { description: 'Deleted.' },
    ...problemResponses([...appProblems, 'app_not_found', 'app_in_use']),
  },
});

const listAppsRoute = createRoute({
  method: 'get',
  path: '/v1/apps',
  operationId: 'listApps',
  tags: ['Apps'],
  security: scopes('connections:read'),
  summary: 'A page of apps',
  description: 'In the order of their ids.',
  request: { query: z.strictObject(pageQuery) },
  responses: {
    200: pageResponse({ name: 'AppPage', item: appAnswer, example: appExample }),
    ...problemResponses(appProblems),
  },
});

/** Registrations of OAuth clients. */
export function addAppRoutes(app: GatewayApp, { apps }: { apps: AppRegistry }): void {
  app.openapi(putAppRoute, async (c) => {
    const { app_id: id } = c.req.valid('param');
    c.set('appId', id);
    const result = await apps.put(id, readInput(c.req.valid('json')));
    const body = describeApp(result.app, callerOf(c));
    return result.created ? answerJson(c, body, 201) : answerJson(c, body, 200);
  });

  app.openapi(getAppRoute, async (c) => {
    const { app_id: id } = c.req.valid('param');
    c.set('appId', id);
    const caller = callerOf(c);
    const found = await apps.get(id, caller.tenants);
    if (found === undefined) throw new TokenManagerError('app_not_found');
    return answerJson(c, describeApp(found, caller), 200);
  });

  app.openapi(resumeAppRoute, async (c) => {
    const { app_id: id } = c.req.valid('param');
    c.set('appId', id);
    const app = await apps.resume(id);
    return answerJson(c, describeApp(app, callerOf(c)), 200);
  });

  app.openapi(deleteAppRoute, async (c) => {
    const { app_id: id } = c.req.valid('param');
    c.set('appId', id);
    await apps.delete(id);
    return c.body(null, 204);
  });

  app.openapi(listAppsRoute, async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const caller = callerOf(c);
    const page = await apps.list({ limit, visibleTo: caller.tenants, ...present({ cursor }) });
    const items = page.items.map((app) => describeApp(app, caller));
    return answerJson(c, { items, next_cursor: page.nextCursor }, 200);
  });
}

function readInput(body: z.output<typeof appInput>): AppInput {
  return {
    provider: body.provider,
    clientId: body.client_id,
    ...present({
      clientSecrets: body.client_secrets,
      privateKey: body.private_key,
      clientCertificate: body.client_certificate && certificateOf(body.client_certificate),
      overrides: body.overrides,
      limits: body.limits && readLimits(body.limits),
      tenantIds: body.tenant_ids,
    }),
  };
}

function certificateOf(given: { certificate: string; private_key: Secret }): ClientCertificate {
  return { certificate: given.certificate, privateKey: given.private_key };
}

function readLimits(body: z.output<typeof limits>): AppLimits {
  return present(body);
}

/** Who else may use an app is not a caller's business. */
function describeApp(app: App, { tenants }: Caller) {
  return {
    id: app.id,
    provider: app.provider,
    client_id: app.clientId,
    client_secret_count: app.clientSecretCount,
    has_private_key: app.privateKeyType !== null,
    client_certificate_expires_at: app.clientCertificateExpiresAt?.toISOString() ?? null,
    overrides: app.overrides,
    limits: app.limits,
    tenant_ids: app.tenantIds?.filter((tenantId) => isVisible(tenantId, tenants)) ?? null,
    paused_until: app.pausedUntil?.toISOString() ?? null,
    paused_reason: app.pausedReason,
    created_at: app.createdAt.toISOString(),
    updated_at: app.updatedAt.toISOString(),
  };
}
