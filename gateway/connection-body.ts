import { z } from '@hono/zod-openapi';
import { lifetimeMaxSeconds } from '../connections/freshness.ts';
import type { ConnectionInput } from '../connections/registry.ts';
import {
  freeObject,
  identifier,
  instant,
  line,
  privateKeyText,
  secret,
  wholeJsonNumber,
} from './fields.ts';
import { present } from './present.ts';

const variablesMax = 32;
const variableNamePattern = /^[A-Za-z0-9_.-]{1,64}$/;

/** Body of `PUT /v1/connections/{id}`, and with an `id` a line of an import. */
export const connectionBody = z
  .strictObject({
    tenant_id: identifier.openapi({ example: 'acme' }),
    app_id: identifier.openapi({ example: 'salesforce' }),
    access_token: secret.optional().openapi({ description: 'Write-only.' }),
    refresh_token: secret.optional().openapi({ description: 'Write-only.' }),
    dpop_key: privateKeyText.optional().openapi({
      description: 'PKCS#8 PEM or a JWK, P-256 or RSA; where the provider wants DPoP. Write-only.',
    }),
    expires_in: wholeJsonNumber(0, lifetimeMaxSeconds)
      .optional()
      .openapi({ description: 'Of the access token; or expires_at, not both.' }),
    expires_at: instant.optional(),
    scope: line.optional(),
    variables: z
      .record(z.string().regex(variableNamePattern), line)
      .refine(
        (variables) => Object.keys(variables).length <= variablesMax,
        `must hold at most ${variablesMax} members`,
      )
      .optional()
      .openapi({
        maxProperties: variablesMax,
        // Missing in the types of the document, not in JSON Schema 2020-12.
        ...({ propertyNames: { pattern: variableNamePattern.source } } as object),
        description: 'What the URLs of the provider need; see GET /v1/providers/{name}.',
      }),
    metadata: freeObject.optional(),
  })
  .refine((input) => input.expires_in === undefined || input.expires_at === undefined, {
    path: ['expires_at'],
    message: 'must not be given together with expires_in',
  })
  .openapi('ConnectionInput', {
    not: { properties: { expires_in: {}, expires_at: {} }, required: ['expires_in', 'expires_at'] },
  });

export function readConnectionBody(body: z.output<typeof connectionBody>): ConnectionInput {
  return {
    tenantId: body.tenant_id,
    appId: body.app_id,
    ...present({
      accessToken: body.access_token,
      refreshToken: body.refresh_token,
      dpopKey: body.dpop_key,
      expiresInSeconds: body.expires_in,
      expiresAt: body.expires_at === undefined ? undefined : new Date(body.expires_at),
      scope: body.scope,
      variables: body.variables,
      metadata: body.metadata,
    }),
  };
}
