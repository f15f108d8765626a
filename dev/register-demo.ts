import type { AppRegistry, ConnectionRegistry } from '../connections/registry.ts';
import { Secret } from '../platform/secret.ts';
import type { ServedDemoProvider } from './serve-demo-provider.ts';
import { SetupError } from './setup-error.ts';

const demoId = 'demo';

/**
 * The app and the connection `demo`, if not there yet. By the stores that the routes use, for whatever
 * TLS_MODE and CALLERS_FILE say of callers, this one is none.
 */
export async function registerDemo(
  { apps, connections }: { apps: AppRegistry; connections: ConnectionRegistry },
  { issuer, client }: ServedDemoProvider,
): Promise<void> {
  const tokenUrl = `${issuer}/token`;
  const app = await apps.get(demoId, null);
  // The provider's port may have been changed since; its grants and secret have not.
  if (app?.overrides['token_url'] !== tokenUrl) {
    await apps.put(demoId, {
      provider: 'demo',
      clientId: client.id,
      clientSecrets: [new Secret(client.secret)],
      overrides: {
        token_url: tokenUrl,
        revoke_url: `${tokenUrl}/revocation`,
        introspect_url: `${tokenUrl}/introspection`,
      },
    });
  }
  if ((await connections.get(demoId, null)) !== undefined) return;
  const grant = await requestGrant(issuer);
  await connections.put(demoId, {
    tenantId: demoId,
    appId: demoId,
    accessToken: new Secret(grant.access_token),
    refreshToken: new Secret(grant.refresh_token),
    expiresInSeconds: grant.expires_in,
  });
}

interface Grant {
  access_token: string;
  refresh_token: string;
  expires_in: number;
}

async function requestGrant(issuer: string): Promise<Grant> {
  const response = await fetch(`${issuer}/grants`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ connection_id: demoId }),
  });
  if (response.ok) return (await response.json()) as Grant;
  throw new SetupError(`The demo provider granted nothing: it answered ${response.status}.`);
}
