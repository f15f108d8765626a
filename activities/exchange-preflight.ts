import { TokenManagerError } from '../client/contract.ts';
import type { AppCredentials } from '../connections/app-credentials.ts';
import type { ExchangeSubject, Postponement, RefreshIntent } from '../connections/exchange.ts';
import type { PrivateKey } from '../connections/private-key.ts';
import type { SealedKind, Sealer } from '../connections/token-vault.ts';
import type { ProviderDefinition } from '../oauth/provider-definition.ts';
import type { TokenRequest } from '../oauth/provider-request.ts';
import type { Secret } from '../platform/secret.ts';
import { isStoreAway } from './activity-failure.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import type { FollowUp } from './follow-up.ts';
import { openAppCredentials, openDpopKey } from './open-secrets.ts';
import type { RefreshTokenInput } from './refresh-step.ts';
import { sendDelay } from './send-limit.ts';

export interface ExchangeFacts {
  input: RefreshTokenInput;
  runId: string;
  subject: ExchangeSubject;
  /** The ambiguous intent to take over; null for a first send. */
  replay: RefreshIntent | null;
  /** The send before this one, in the same Activity, whose answer proved that nothing was spent. */
  followUp: FollowUp | null;
}

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
  /** Which of the app's client secrets the request shows, and how many there are. */
  secretIndex: number;
  secretCount: number;
  /** Where the request goes, by which the app's gate is found; null: a variable is missing. */
  tokenHost: string | null;
}

/** Why no token request is made. */
export interface Refusal {
  kind: 'refused';
  class: Postponement['class'];
  code: string;
  /** Until the next attempt, in milliseconds; null: after the usual back-off. */
  retryAfterMs: number | null;
}

type Preflight = PreparedExchange | { kind: 'too_soon'; afterMs: number } | Refusal;

/**
 * Step 2 of the exchange: definition, limits, data keys, secrets. Throws `store_unavailable`; a key
 * service that is away, or a definition that no longer holds, is an answer.
 */
export async function prepareExchange(
  dependencies: ExchangeDependencies,
  { subject, input, replay, followUp }: ExchangeFacts,
): Promise<Preflight> {
  const { connection, app } = subject;
  const definition = resolveDefinition(dependencies, subject);
  if (definition === undefined) {
    return refused('misconfigured', 'provider_definition_invalid');
  }
  // A send that follows another belongs to the same exchange.
  const delay =
    followUp === null
      ? sendDelay(subject, definition, { ...input, isReplay: replay !== null })
      : null;
  if (delay?.kind === 'window') {
    return { ...refused('rate_limited', 'limit_per_window'), retryAfterMs: delay.afterMs };
  }
  if (delay !== null) return { kind: 'too_soon', afterMs: delay.afterMs };
  try {
    const sealer = await dependencies.vault.sealer();
    const secrets = await openSecrets(dependencies, subject);
    const credential = credentialOf(definition, secrets);
    const { clientSecrets } = secrets.credentials;
    const secretIndex = dependencies.clientSecrets.index(
      app,
      followUp?.secretsTried ?? 0,
      clientSecrets.length,
    );
    return {
      kind: 'prepared',
      definition,
      sealer,
      fingerprint: secrets.refreshToken && sealer.fingerprint(secrets.refreshToken),
      refreshToken: secrets.refreshToken,
      accessToken: secrets.accessToken,
      secretIndex,
      secretCount: clientSecrets.length,
      tokenHost: dependencies.providers.tokenHost(
        app.provider,
        app.overrides,
        connection.variables,
      ),
      request: {
        definition,
        variables: connection.variables,
        clientId: app.clientId,
        clientSecret: clientSecrets[secretIndex] ?? null,
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
      return refused('transient', error.code);
    }
    dependencies.log.error(
      { app_id: app.id, err: error },
      'a stored secret does not open; import the connection or the app again',
    );
    return refused('transient', 'unseal_failed');
  }
}

function refused(failureClass: Refusal['class'], code: string): Refusal {
  return { kind: 'refused', class: failureClass, code, retryAfterMs: null };
}

function resolveDefinition(
  { providers, log }: ExchangeDependencies,
  { app }: ExchangeSubject,
): ProviderDefinition | undefined {
  try {
    return providers.resolve(app.provider, app.overrides);
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    log.error(
      { app_id: app.id, provider: app.provider, err: error },
      'the provider definition of the app is not valid any more',
    );
    return undefined;
  }
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
  const open = async (kind: SealedKind, bytes: Buffer | null): Promise<Secret | null> =>
    bytes === null ? null : vault.open(kind, owner, bytes);
  return {
    refreshToken: await open('refresh-token', sealed.sealedRefreshToken),
    accessToken: await open('access-token', sealed.sealedAccessToken),
    credentials: await openAppCredentials(vault, app),
    dpopKey: await openDpopKey(vault, { ...owner, sealed: sealed.sealedDpopKey }),
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
