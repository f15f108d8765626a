import type { ServedDemoProvider } from './serve-demo-provider.ts';
import { SetupError } from './setup-error.ts';

const demoId = 'demo';

/** The app and the connection `demo`, through the same routes as everybody's, if not there yet. */
export async function registerDemo(gateway: string, provider: ServedDemoProvider): Promise<void> {
  const { issuer, client } = provider;
  const tokenUrl = `${issuer}/token`;
  const app = await call('GET', `${gateway}/v1/apps/${demoId}`);
  // The provider's port may have been changed since; its grants and secret have not.
  if ((app?.['overrides'] as { token_url?: string } | undefined)?.token_url !== tokenUrl) {
    await call('PUT', `${gateway}/v1/apps/${demoId}`, {
      provider: 'demo',
      client_id: client.id,
      client_secrets: [client.secret],
      overrides: {
        token_url: tokenUrl,
        revoke_url: `${tokenUrl}/revocation`,
        introspect_url: `${tokenUrl}/introspection`,
      },
    });
  }
  if ((await call('GET', `${gateway}/v1/connections/${demoId}`)) !== undefined) return;
  const grant = await call('POST', `${issuer}/grants`, { connection_id: demoId });
  await call('PUT', `${gateway}/v1/connections/${demoId}`, {
    tenant_id: demoId,
    app_id: demoId,
    ...grant,
  });
}

/** The answer's body; undefined for 404. Throws SetupError for any other refusal. */
async function call(
  method: 'GET' | 'PUT' | 'POST',
  url: string,
  body?: object,
): Promise<Record<string, unknown> | undefined> {
  const response = await fetch(url, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  if (response.ok) return answer;
  if (response.status === 404) return undefined;
  throw new SetupError(
    `The demo could not be registered: ${method} ${url} answered ${response.status} ` +
      `${JSON.stringify(answer['code'] ?? answer['error'])} ${JSON.stringify(answer['detail'] ?? '')}`,
  );
}
