import { TokenManagerError } from '../client/contract.ts';
import {
  noCredentials,
  parseAppCredentials,
  type AppCredentials,
} from '../connections/app-credentials.ts';
import { openedDpopKey } from '../connections/dpop-key.ts';
import type { ExchangeSubject } from '../connections/exchange.ts';
import type { PrivateKey } from '../connections/private-key.ts';
import {
  dpopKeyGeneration,
  type SealedKind,
  type SealedOwner,
  type Sealer,
} from '../connections/token-vault.ts';
import type { ProviderDefinition } from '../oauth/provider-definition.ts';
import type { TokenRequest } from '../oauth/token-request.ts';
import type { Secret } from '../platform/secret.ts';
import { isStoreAway } from './activity-failure.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';

/** Everything in memory that the exchange needs from here on. */
export interface PreparedExchange {
  kind: 'prepared';
  definition: ProviderDefinition;
  request: TokenRequest;
  sealer: Sealer;
  /** Of the refresh token that will be spent; null for other credentials. */
  fingerprint: Buffer | null;
  refreshToken: Secret | null;
  accessToken: Secret | null;
}

type Preflight =
  | PreparedExchange
  | { kind: 'too_soon'; afterMs: number }
  | { kind: 'refused'; class: 'transient' | 'misconfigured'; code: string };

/**
 * Step 2 of the exchange: definition, limits, data keys, secrets. Throws `store_unavailable`; a key
 * service that is away, or a definition that no longer holds, is an answer.
 */
export async function prepareExchange(
  dependencies: ExchangeDependencies,
  subject: ExchangeSubject,
): Promise<Preflight> {
  const { connection, app } = subject;
  const definition = resolveDefinition(dependencies, subject);
  if (definition === undefined) {
    return { kind: 'refused', class: 'misconfigured', code: 'provider_definition_invalid' };
  }
  const afterMs = untilNextSend(subject, definition);
  if (afterMs > 0) return { kind: 'too_soon', afterMs };
  try {
    const sealer = await dependencies.vault.sealer();
    const secrets = await openSecrets(dependencies, subject);
    const credential = credentialOf(definition, secrets);
    return {
      kind: 'prepared',
      definition,
      sealer,
      fingerprint: secrets.refreshToken && sealer.fingerprint(secrets.refreshToken),
      refreshToken: secrets.refreshToken,
      accessToken: secrets.accessToken,
      request: {
        definition,
        variables: connection.variables,
        clientId: app.clientId,
        clientSecret: secrets.credentials.clientSecrets[0] ?? null,
        privateKey: secrets.credentials.privateKey,
        clientCertificate: secrets.credentials.clientCertificate,
        dpopKey: secrets.dpopKey,
        accessToken: secrets.accessToken,
        credential,
        scope: connection.scope,
      },
    };
  } catch (error) {
    if (isStoreAway(error) || !(error instanceof TokenManagerError)) throw error;
    if (error.code === 'key_service_unavailable') {
      return { kind: 'refused', class: 'transient', code: error.code };
    }
    dependencies.log.error(
      { connection_id: connection.id, app_id: app.id, err: error },
      'a stored secret does not open; import the connection or the app again',
    );
    return { kind: 'refused', class: 'transient', code: 'unseal_failed' };
  }
}

function resolveDefinition(
  { providers, log }: ExchangeDependencies,
  { app, connection }: ExchangeSubject,
): ProviderDefinition | undefined {
  try {
    return providers.resolve(app.provider, app.overrides);
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    log.error(
      { connection_id: connection.id, app_id: app.id, provider: app.provider, err: error },
      'the provider definition of the app is not valid any more',
    );
    return undefined;
  }
}

/** The least time between two exchanges of a connection. */
function untilNextSend(subject: ExchangeSubject, definition: ProviderDefinition): number {
  if (subject.lastSentAt === null) return 0;
  const nextMs = subject.lastSentAt.getTime() + 1_000 * definition.limits.minIntervalSeconds;
  return Math.max(nextMs - subject.connection.readAt.getTime(), 0);
}

interface OpenedSecrets {
  refreshToken: Secret | null;
  accessToken: Secret | null;
  credentials: AppCredentials;
  dpopKey: PrivateKey | null;
}

/** Opened only here: both tokens, for the answer may bring one of them and both are sealed anew. */
async function openSecrets(
  { vault }: ExchangeDependencies,
  { connection, app, ...sealed }: ExchangeSubject,
): Promise<OpenedSecrets> {
  const owner = {
    tenantId: connection.tenantId,
    id: connection.id,
    generation: connection.generation,
  };
  const open = async (
    kind: SealedKind,
    of: SealedOwner,
    bytes: Buffer | null,
  ): Promise<Secret | null> => (bytes === null ? null : vault.open(kind, of, bytes));
  const appOwner = { tenantId: '', id: app.id, generation: app.generation };
  const credentials = await open('client-secrets', appOwner, app.sealedClientSecrets);
  const dpopOwner = { ...owner, generation: dpopKeyGeneration };
  const dpopKey = await open('dpop-key', dpopOwner, sealed.sealedDpopKey);
  return {
    refreshToken: await open('refresh-token', owner, sealed.sealedRefreshToken),
    accessToken: await open('access-token', owner, sealed.sealedAccessToken),
    credentials: credentials === null ? noCredentials() : parseAppCredentials(credentials),
    dpopKey: dpopKey && openedDpopKey(dpopKey),
  };
}

function credentialOf(definition: ProviderDefinition, secrets: OpenedSecrets): Secret | null {
  switch (definition.credential) {
    case 'refresh_token':
      return secrets.refreshToken;
    case 'access_token':
      return secrets.accessToken;
    case 'client':
      return null;
  }
}
