import { createServer } from 'node:http';
import {
  createDemoProvider,
  type DemoProvider,
  type DemoProviderOptions,
} from '../../dev/demo-provider/create-demo-provider.ts';
import { createGrantStore } from '../../dev/demo-provider/grant-store.ts';
import { findFreePort } from '../../dev/ports.ts';
import type { TestStack } from './test-stack.ts';

const client = { id: 'demo-client', secret: 'demo-secret' };

export interface DemoProviderServer extends DemoProvider {
  tokenUrl: string;
  /** Registers an app with this provider; another token URL is that of a proxy in front of it. */
  registerApp(
    stack: Pick<TestStack, 'call'>,
    tokenUrl?: string,
    overrides?: Record<string, unknown>,
  ): Promise<string>;
  /** A grant for each connection, imported with an access token that has expired. */
  addConnections(stack: Pick<TestStack, 'call'>, appId: string, count: number): Promise<string[]>;
  close(): void;
}

/** The demo provider of dev/ (oidc-provider, class F) on a port of its own, its grants in memory. */
export async function startDemoProviderServer(
  options: Pick<DemoProviderOptions, 'answerDelayMs' | 'accessTokenTtlSeconds'> = {},
): Promise<DemoProviderServer> {
  const port = await findFreePort();
  const issuer = `http://127.0.0.1:${port}`;
  const store = createGrantStore({ nowMs: () => Date.now() });
  const provider = createDemoProvider({ issuer, store, client, ...options });
  const server = createServer(provider.handler);
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const tokenUrl = `${issuer}/token`;
  return {
    ...provider,
    tokenUrl,
    async registerApp(stack, appTokenUrl = tokenUrl, overrides = {}) {
      const appId = `demo-${new URL(appTokenUrl).port}`;
      await stack.call('PUT', `/v1/apps/${appId}`, {
        provider: 'demo',
        client_id: client.id,
        client_secrets: [client.secret],
        overrides: { token_url: appTokenUrl, ...overrides },
      });
      return appId;
    },
    async addConnections(stack, appId, count) {
      const ids: string[] = [];
      for (let index = 0; index < count; index += 1) {
        const id = `demo-${port}-${index}-${Math.random().toString(36).slice(2)}`;
        const grant = await provider.createGrant(id);
        await stack.call('PUT', `/v1/connections/${id}`, {
          tenant_id: 'demo',
          app_id: appId,
          ...grant,
          expires_in: 0,
        });
        ids.push(id);
      }
      return ids;
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
