import { TokenManagerError } from '../client/contract.ts';
import type { Secret } from '../platform/secret.ts';
import type { ProviderFacts, ProviderRules } from './app.ts';
import type { Connection, CredentialKind, RotationClass } from './connection.ts';
import { parseDpopKey, requireDpopKey } from './dpop-key.ts';
import { clampLifetimeSeconds } from './freshness.ts';
import { grantEnd } from './grant-lifetime.ts';
import { importedExpiry, type ImportedExpiry } from './import-expiry.ts';
import type { AppRegistry, ConnectionInput } from './registry.ts';
import type { StoredConnection } from './stored-connections.ts';
import {
  dpopKeyGeneration,
  type SealedOwner,
  type SealedValue,
  type Sealer,
} from './token-vault.ts';

/** What an import needs to know of the app that it names. */
export interface ImportApp {
  facts: ProviderFacts;
  provider: string;
  overrides: Record<string, unknown>;
  /** Null: everybody may use it. */
  tenantIds: ReadonlySet<string> | null;
}

/** Undefined: there is no such app. Throws as `ProviderRules.describe`. */
export async function loadImportApp(
  { apps, providers }: { apps: AppRegistry; providers: ProviderRules },
  appId: string,
): Promise<ImportApp | undefined> {
  const app = await apps.get(appId, null);
  return (
    app && {
      facts: providers.describe(app.provider, app.overrides),
      provider: app.provider,
      overrides: app.overrides,
      tenantIds: app.tenantIds && new Set(app.tenantIds),
    }
  );
}

/** Throws `app_not_found` where there is none, or none for the tenant. */
export function requireApp(app: ImportApp | undefined, tenantId: string): ImportApp {
  if (app === undefined || app.tenantIds?.has(tenantId) === false) {
    throw new TokenManagerError('app_not_found');
  }
  return app;
}

/** One import, and what is stored of its connection. */
export interface ImportSubject {
  connectionId: string;
  input: ConnectionInput;
  app: ImportApp;
  stored: StoredConnection | undefined;
}

/** What can be told of an import before anything is written. */
export interface ExaminedImport {
  variables: Record<string, string>;
  tokenHost: string | null;
  /** Of this import; null: it brings none. */
  givenDpopKey: SealedValue | null;
  /** The same, or else the stored one. */
  heldDpopKey: SealedValue | null;
}

/** Throws `input_validation` for what the provider does not take. */
export function examineImport(
  { connectionId, input, app, stored }: ImportSubject,
  { sealer, providers }: { sealer: Sealer; providers: ProviderRules },
): ExaminedImport {
  const variables = input.variables ?? stored?.connection.variables ?? {};
  providers.checkVariables(app.provider, app.overrides, variables);
  const tokenHost = providers.tokenHost(app.provider, app.overrides, variables);
  const dpopKey = input.dpopKey === undefined ? null : parseDpopKey(input.dpopKey);
  const owner = { tenantId: input.tenantId, id: connectionId, generation: dpopKeyGeneration };
  const givenDpopKey = dpopKey && sealer.seal('dpop-key', owner, dpopKey);
  const heldDpopKey = givenDpopKey ?? stored?.sealedDpopKey ?? null;
  if (app.facts.needsDpopKey) requireDpopKey(heldDpopKey);
  return { variables, tokenHost, givenDpopKey, heldDpopKey };
}

/** Throws `input_validation` where nothing but the app itself could be the credential, and is not. */
export function requireCredentials(input: ConnectionInput, credential: CredentialKind): void {
  if (bringsTokens(input) || credential === 'client') return;
  throw new TokenManagerError('input_validation', {
    errors: [
      {
        pointer: '/refresh_token',
        detail: 'a new connection needs a refresh_token or access_token',
      },
    ],
  });
}

export function bringsTokens(input: ConnectionInput): boolean {
  return input.accessToken !== undefined || input.refreshToken !== undefined;
}

/** A row of `connections` as an import writes it, new or in the place of another. */
export interface ImportedRow {
  owner: SealedOwner;
  appId: string;
  isNewAccessToken: boolean;
  /** The customer has consented anew. */
  isConsent: boolean;
  credential: CredentialKind;
  rotationClass: RotationClass;
  accessToken: SealedValue | null;
  refreshToken: SealedValue | null;
  fingerprint: Buffer | null;
  scope: string | null;
  expiry: ImportedExpiry;
  variables: Record<string, string>;
  metadata: Record<string, unknown>;
  tokenHost: string | null;
  dpopKey: SealedValue | null;
  grantEnd: { endsAt: Date; noticeAt: Date } | null;
}

/** The row but for its times: those are the database's, which is asked once the locks are held. */
export function draftRow(
  subject: ImportSubject & {
    examined: ExaminedImport;
    /** Of this import; null: it brings no refresh token. */
    fingerprint: Buffer | null;
    /** Both are sealed, one that the import leaves out too. */
    tokens: { access: Secret | null; refresh: Secret | null };
    generation: number;
  },
  { sealer, providers, random }: { sealer: Sealer; providers: ProviderRules; random: () => number },
): (now: Date) => ImportedRow {
  const { connectionId, input, app, stored, examined, tokens, generation } = subject;
  const { facts } = app;
  const kept: Connection | undefined = stored?.connection;
  const owner = { tenantId: input.tenantId, id: connectionId, generation };
  const isConsent = input.refreshToken !== undefined;
  const timeless = {
    owner,
    appId: input.appId,
    isNewAccessToken: input.accessToken !== undefined,
    isConsent,
    credential: facts.credential,
    rotationClass: facts.rotationClass,
    accessToken: tokens.access && sealer.seal('access-token', owner, tokens.access),
    refreshToken: tokens.refresh && sealer.seal('refresh-token', owner, tokens.refresh),
    fingerprint: subject.fingerprint ?? stored?.refreshFingerprint ?? null,
    scope: input.scope ?? kept?.scope ?? null,
    variables: examined.variables,
    metadata: input.metadata ?? kept?.metadata ?? {},
    tokenHost: examined.tokenHost,
    dpopKey: examined.heldDpopKey,
  };
  return (now) => ({
    ...timeless,
    expiry: importedExpiry(input, kept, {
      credential: facts.credential,
      tokens,
      assumeLifetime: (token) =>
        providers.assumeLifetime(app.provider, app.overrides, token, clampLifetimeSeconds),
      now,
      fraction: random(),
      keepAliveSeconds: facts.grantLifetime.keepAliveSeconds,
    }),
    grantEnd: isConsent ? grantEnd(facts.grantLifetime.absoluteSeconds, now) : null,
  });
}
