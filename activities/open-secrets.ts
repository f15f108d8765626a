import {
  noCredentials,
  parseAppCredentials,
  type AppCredentials,
} from '../connections/app-credentials.ts';
import { openedDpopKey } from '../connections/dpop-key.ts';
import type { ExchangeSubject } from '../connections/exchange.ts';
import type { PrivateKey } from '../connections/private-key.ts';
import { dpopKeyGeneration, type TokenVault } from '../connections/token-vault.ts';

/** By what the app shows itself to its provider. Throws as TokenVault.open does. */
export async function openAppCredentials(
  vault: TokenVault,
  app: Pick<ExchangeSubject['app'], 'id' | 'generation' | 'sealedClientSecrets'>,
): Promise<AppCredentials> {
  if (app.sealedClientSecrets === null) return noCredentials();
  const owner = { tenantId: '', id: app.id, generation: app.generation };
  return parseAppCredentials(await vault.open('client-secrets', owner, app.sealedClientSecrets));
}

/** The key that a connection proves possession of; null: it has none. Throws as TokenVault.open does. */
export async function openDpopKey(
  vault: TokenVault,
  connection: { tenantId: string; id: string; sealed: Buffer | null },
): Promise<PrivateKey | null> {
  const { tenantId, id, sealed } = connection;
  if (sealed === null) return null;
  const owner = { tenantId, id, generation: dpopKeyGeneration };
  return openedDpopKey(await vault.open('dpop-key', owner, sealed));
}
