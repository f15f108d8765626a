import { TokenManagerError } from '../client/contract.ts';
import type { RevocationStore, RevocationSubject } from '../connections/revocation.ts';
import type { TokenRequest } from '../oauth/provider-request.ts';
import type { Secret } from '../platform/secret.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import { openAppCredentials, openDpopKey } from './open-secrets.ts';

/** What the Activities of a disconnect use. */
export interface RevocationDependencies extends Pick<
  ExchangeDependencies,
  | 'vault'
  | 'providers'
  | 'tokenEndpoint'
  | 'clientSecrets'
  | 'sealedResults'
  | 'deadlinesMs'
  | 'clock'
  | 'random'
  | 'randomUuid'
  | 'currentCall'
  | 'log'
> {
  revocations: RevocationStore;
}

/**
 * The client of the app, once with each of its secrets in the order in which they are tried. Null: there is no
 * app any more. Throws as TokenVault.open, and `input_validation` for a definition that no longer holds.
 */
export async function requestsOf(
  { providers, vault, clientSecrets: order }: RevocationDependencies,
  subject: RevocationSubject,
  credential: Secret,
): Promise<TokenRequest[] | null> {
  const { app } = subject;
  if (app === null) return null;
  const definition = providers.resolve(app.provider, app.overrides);
  const credentials = await openAppCredentials(vault, app);
  const dpopKey = await openDpopKey(vault, {
    tenantId: subject.tenantId,
    id: subject.connectionId,
    sealed: subject.sealedDpopKey,
  });
  const { clientSecrets } = credentials;
  const count = Math.max(clientSecrets.length, 1);
  return Array.from({ length: count }, (_, tried) => ({
    definition,
    variables: subject.variables,
    clientId: app.clientId,
    clientSecret: clientSecrets[order.index(app, tried, count)] ?? null,
    privateKey: credentials.privateKey,
    clientCertificate: credentials.clientCertificate,
    dpopKey,
    accessToken: null,
    credential,
    scope: subject.scope,
  }));
}

/** Waiting heals it: PostgreSQL, the key service, or whatever else is no judgement of ours. */
export function isDependencyAway(error: unknown): boolean {
  if (!(error instanceof TokenManagerError)) return true;
  return error.code === 'store_unavailable' || error.code === 'key_service_unavailable';
}
