import { callerOf } from '../support/service-cluster.ts';
import {
  clientSecret,
  enduranceApps,
  graceSeconds,
  type EnduranceConnection,
} from './connection-mix.ts';
import type { EnduranceStack } from './endurance-stack.ts';

const atOnce = 8;

/** Registers the apps and imports a grant for each connection. */
export async function importConnections(options: {
  stack: EnduranceStack;
  connections: readonly EnduranceConnection[];
}): Promise<void> {
  const { gateways, provider } = options.stack;
  const [gateway] = gateways;
  if (gateway === undefined) throw new Error('there is no gateway');
  const caller = callerOf(gateway);

  async function put(path: string, body: unknown): Promise<void> {
    const answer = await caller.call('PUT', path, body);
    if (answer.status !== 201) {
      throw new Error(`${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    }
  }

  for (const app of enduranceApps) {
    await put(`/v1/apps/${app.id}`, {
      provider: 'generic',
      client_id: app.clientId,
      client_secrets: [clientSecret],
      overrides: {
        token_url: `${provider.origin}/token`,
        ...(app.introspection && { introspect_url: `${provider.origin}/token/introspection` }),
        rotation: {
          class: app.class,
          ...(app.class === 'T' && { grace_seconds: graceSeconds }),
        },
      },
    });
  }
  const left = [...options.connections];
  const take = async (): Promise<void> => {
    for (let connection = left.pop(); connection !== undefined; connection = left.pop()) {
      const { id, app, lifetimeSeconds, firstLifetimeSeconds } = connection;
      const issued = await provider.grant(id, app.clientId, lifetimeSeconds);
      await put(`/v1/connections/${id}`, {
        tenant_id: 'endurance',
        app_id: app.id,
        access_token: issued.access_token,
        refresh_token: issued.refresh_token,
        expires_in: firstLifetimeSeconds,
      });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, take));
}
