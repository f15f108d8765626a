import { createRoute, z } from '@hono/zod-openapi';
import { TokenManagerError } from '../../client/contract.ts';
import type { App, AppInput, AppLimits } from '../../connections/app.ts';
import { concurrencyMax, windowCountMax } from '../../connections/app-gate.ts';
import type { ClientCertificate } from '../../connections/client-certificate.ts';
import type { AppRegistry } from '../../connections/registry.ts';
import type { Secret } from '../../platform/secret.ts';
import { answerJson } from '../answer-json.ts';
import {
  certificateChain,
  freeObject,
  identifier,
  line,
  pageQuery,
  pemSecret,
  privateKeyText,
  secret,
  wholeJsonNumber,
} from '../fields.ts';
import type { GatewayApp } from '../gateway-env.ts';
import { present } from '../present.ts';

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
    client_secret_count: z.number(),
    has_private_key: z.boolean(),
    client_certificate_expires_at: z.string().nullable(),
    overrides: z.record(z.string(), z.unknown()),
    limits,
    tenant_ids: z.array(z.string()).nullable(),
    paused_until: z.string().nullable(),
    paused_reason: z.string().nullable(),
    created_at: z.string(),
    updated_at: z.string(),
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
    provider: identifier,
    client_id: line,
    client_secrets: z.array(secret).max(clientSecretsMax).optional(),
    private_key: privateKey.nullable().optional(),
    client_certificate: z
      .strictObject({ certificate: certificateChain, private_key: pemSecret })
      .nullable()
      .optional(),
    overrides: freeObject.optional(),
    limits: limits.optional(),
    tenant_ids: z.array(identifier).max(tenantsMax).nullable().optional(),
  })
  .openapi('AppInput');

const params = z.object({ app_id: identifier });
const query = z.strictObject({});
const answered = (description: string) => ({
  description,
  content: { 'application/json': { schema: appAnswer } },
});

const putAppRoute = createRoute({
  method: 'put',
  path: '/v1/apps/{app_id}',
  summary: 'Register an OAuth client, or change one; its secrets are write-only',
  request: {
    params,
    query,
    body: { required: true, content: { 'application/json': { schema: appInput } } },
  },
  responses: { 200: answered('Updated.'), 201: answered('Created.') },
});

const getAppRoute = createRoute({
  method: 'get',
  path: '/v1/apps/{app_id}',
  summary: 'An app; never its secrets',
  request: { params, query },
  responses: { 200: answered('The app.') },
});

const resumeAppRoute = createRoute({
  method: 'post',
  path: '/v1/apps/{app_id}/resume',
  summary: 'End a pause of an app, after its registration was put right at the provider',
  request: { params, query },
  responses: { 200: answered('The app; its connections are refreshed again, spread over time.') },
});

const deleteAppRoute = createRoute({
  method: 'delete',
  path: '/v1/apps/{app_id}',
  summary: 'Delete an app that no connection uses',
  request: { params, query },
  responses: { 204: { description: 'Deleted.' } },
});

const listAppsRoute = createRoute({
  method: 'get',
  path: '/v1/apps',
  summary: 'A page of apps',
  request: { query: z.strictObject(pageQuery) },
  responses: {
    200: {
      description: 'A page; next_cursor is null on the last.',
      content: {
        'application/json': {
          schema: z
            .object({ items: z.array(appAnswer), next_cursor: z.string().nullable() })
            .openapi('AppPage'),
        },
      },
    },
  },
});

/** Registrations of OAuth clients. */
export function addAppRoutes(app: GatewayApp, { apps }: { apps: AppRegistry }): void {
  app.openapi(putAppRoute, async (c) => {
    const { app_id: id } = c.req.valid('param');
    const result = await apps.put(id, readInput(c.req.valid('json')));
    const body = describeApp(result.app);
    return result.created ? answerJson(c, body, 201) : answerJson(c, body, 200);
  });

  app.openapi(getAppRoute, async (c) => {
    const found = await apps.get(c.req.valid('param').app_id);
    if (found === undefined) throw new TokenManagerError('app_not_found');
    return answerJson(c, describeApp(found), 200);
  });

  app.openapi(resumeAppRoute, async (c) => {
    const app = await apps.resume(c.req.valid('param').app_id);
    return answerJson(c, describeApp(app), 200);
  });

  app.openapi(deleteAppRoute, async (c) => {
    await apps.delete(c.req.valid('param').app_id);
    return c.body(null, 204);
  });

  app.openapi(listAppsRoute, async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const page = await apps.list({ limit, ...present({ cursor }) });
    return answerJson(c, { items: page.items.map(describeApp), next_cursor: page.nextCursor }, 200);
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

function describeApp(app: App) {
  return {
    id: app.id,
    provider: app.provider,
    client_id: app.clientId,
    client_secret_count: app.clientSecretCount,
    has_private_key: app.privateKeyType !== null,
    client_certificate_expires_at: app.clientCertificateExpiresAt?.toISOString() ?? null,
    overrides: app.overrides,
    limits: app.limits,
    tenant_ids: app.tenantIds,
    paused_until: app.pausedUntil?.toISOString() ?? null,
    paused_reason: app.pausedReason,
    created_at: app.createdAt.toISOString(),
    updated_at: app.updatedAt.toISOString(),
  };
}
