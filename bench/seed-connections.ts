import { randomBytes } from 'node:crypto';
import { Secret } from '../platform/secret.ts';
import type { BenchStack } from './bench-stack.ts';
import type { Stores } from './stores.ts';

export const benchApp = 'bench-app';
const tenantId = 'bench-tenant';
const pageSize = 500;
const pagesAtOnce = 4;
const toldEvery = 10_000;
/** An opaque token as many providers issue it. */
const tokenBytes = 48;
const expiresInSeconds = 3_600;

/** Ids of the connections that `seedConnections` makes. */
export function connectionIds(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => `connection-${from + index}`);
}

export function tokenPath(connectionId: string): string {
  return `/v1/connections/${connectionId}/token`;
}

/** A database of this name with an app and so many connections, each with tokens that have not expired. */
export async function prepareConnections(
  stack: BenchStack,
  database: string,
  count: number,
  tell: (line: string) => void,
): Promise<Stores> {
  const provider = await stack.provider();
  const stores = await stack.stores(database);
  await stores.apps.put(benchApp, {
    provider: 'generic',
    clientId: 'bench-client',
    clientSecrets: [new Secret('bench-secret')],
    overrides: { token_url: await provider.call.tokenUrl() },
  });
  const ids = connectionIds(count);
  let imported = 0;
  const importPages = async (): Promise<void> => {
    for (let page = ids.splice(0, pageSize); page.length > 0; page = ids.splice(0, pageSize)) {
      const outcomes = await stores.importMany(page.map((id) => ({ id, input: newGrant() })));
      const refused = outcomes.find(({ outcome }) => outcome !== 'created');
      if (refused !== undefined) throw new Error('a connection could not be made');
      imported += page.length;
      if (imported % toldEvery === 0) tell(`makes connections, ${imported} of ${count}`);
    }
  };
  await Promise.all(Array.from({ length: pagesAtOnce }, importPages));
  await stores.pool.query('vacuum analyze');
  return stores;
}

function newGrant() {
  return {
    tenantId,
    appId: benchApp,
    accessToken: newToken(),
    refreshToken: newToken(),
    expiresInSeconds,
    scope: 'read write',
  };
}

function newToken(): Secret {
  return new Secret(randomBytes(tokenBytes).toString('base64url'));
}
