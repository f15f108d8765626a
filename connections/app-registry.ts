import { TokenManagerError } from '../client/contract.ts';
import { announceAppEvent } from './announce-event.ts';
import {
  bringsCredentials,
  formatAppCredentials,
  noCredentials,
  parseAppCredentials,
  replaceCredentials,
  type AppCredentials,
} from './app-credentials.ts';
import type { App, AppInput, AppLimits, ProviderRules } from './app.ts';
import { checkClientCertificate } from './client-certificate.ts';
import { missingCredentials, refuseRedirect } from './endpoint-redirect.ts';
import { pageOf, parseCursor } from './page-cursor.ts';
import { keyFault, keyTypeOf, type PrivateKeyType } from './private-key.ts';
import type { AppRegistry } from './registry.ts';
import { isNewRegistration, releaseConnections } from './resume-app.ts';
import { queryStore, sqlStateOf, tenantsParameter, type Queryable } from './store-query.ts';
import type { TokenVault } from './token-vault.ts';

const conflictRetriesMax = 5;
const foreignKeyViolation = '23503';

/** `isAppPaused` in SQL. */
const isPaused = `(paused_reason is not null
  and (paused_until is null or paused_until > clock_timestamp()))`;
/** An app for some tenants only is not there for the rest. */
const isVisible = (tenants: string) =>
  `(tenant_ids is null or ${tenants}::text[] is null or tenant_ids && ${tenants})`;
const appColumns = `id, provider, client_id, generation, client_secret_count, private_key_type,
  client_certificate_expires_at, overrides, limits, tenant_ids,
  case when ${isPaused} then paused_until end as paused_until,
  case when ${isPaused} then paused_reason end as paused_reason, created_at, updated_at`;

interface AppRow {
  id: string;
  provider: string;
  client_id: string;
  generation: string;
  client_secret_count: number;
  private_key_type: PrivateKeyType | null;
  client_certificate_expires_at: Date | null;
  overrides: Record<string, unknown>;
  limits: AppLimits;
  tenant_ids: string[] | null;
  paused_until: Date | null;
  paused_reason: string | null;
  created_at: Date;
  updated_at: Date;
}

/** Apps and their sealed client secrets; the only place with SQL of the table `apps`. */
export function createAppRegistry(dependencies: {
  store: Queryable;
  vault: TokenVault;
  providers: ProviderRules;
}): AppRegistry {
  const { store, vault, providers } = dependencies;

  async function find(appId: string): Promise<{ app: App; generation: number } | undefined> {
    const [row] = await queryStore<AppRow>(store, {
      name: 'get-app',
      text: `select ${appColumns} from apps where id = $1`,
      values: [appId],
    });
    return row && { app: appFromRow(row), generation: Number(row.generation) };
  }

  return {
    async get(appId, visibleTo) {
      const [row] = await queryStore<AppRow>(store, {
        name: 'get-visible-app',
        text: `select ${appColumns} from apps where id = $1 and ${isVisible('$2')}`,
        values: [appId, tenantsParameter(visibleTo)],
      });
      return row && appFromRow(row);
    },

    async list({ limit, cursor, visibleTo }) {
      const rows = await queryStore<AppRow>(store, {
        name: 'list-apps',
        text: `select ${appColumns} from apps where id > $1 and ${isVisible('$3')}
          order by id limit $2`,
        values: [parseCursor(cursor), limit + 1, tenantsParameter(visibleTo)],
      });
      return pageOf(rows, limit, appFromRow);
    },

    async put(appId, input) {
      for (let round = 0; round < conflictRetriesMax; round += 1) {
        const stored = await find(appId);
        refuseRedirect(input, stored?.app, providers);
        const app = await write(appId, input, stored);
        if (app === undefined) continue;
        if (stored !== undefined && isNewRegistration(input, stored.app)) {
          await releaseConnections(store, appId);
        }
        return { app, created: stored === undefined };
      }
      throw new TokenManagerError('store_unavailable', {
        detail: 'The app is being written by others; try again.',
        retryAfterSeconds: 1,
      });
    },

    async resume(appId) {
      const [row] = await queryStore<AppRow>(store, {
        name: 'resume-app',
        text: `with target as materialized (
            select id as target_id, paused_reason as before from apps where id = $1 for update
          ), resumed as (
            update apps set paused_until = null, paused_reason = null, updated_at = now()
            from target where id = target_id returning apps.*, target.before
          ), forgotten as (
            delete from app_gates g using resumed where g.app_id = resumed.id
          ), announced as (
            ${announceRecovery('resumed a')}
          )
          select ${appColumns} from resumed`,
        values: [appId],
      });
      if (row === undefined) throw new TokenManagerError('app_not_found');
      await releaseConnections(store, appId);
      return appFromRow(row);
    },

    async delete(appId) {
      const rows = await deleteUnused(appId);
      if (rows === 0) throw new TokenManagerError('app_not_found');
    },
  };

  /** Undefined: somebody wrote the app in between. */
  async function write(
    appId: string,
    input: AppInput,
    stored: { app: App; generation: number } | undefined,
  ): Promise<App | undefined> {
    const generation = (stored?.generation ?? 0) + 1;
    const given = bringsCredentials(input)
      ? replaceCredentials(input, await keptCredentials(appId, input, stored))
      : null;
    const facts = providers.describe(
      input.provider,
      input.overrides ?? stored?.app.overrides ?? {},
    );
    const { privateKeyType: keyType, clientCertificateExpiresAt: certificateEnd } =
      given === null ? keptFacts(stored?.app) : factsOf(given);
    refuseWrongKey(keyType, facts.privateKeyAlg);
    // Kept credentials keep their seal, so their generation: only new ones raise it.
    const sealed =
      given &&
      (await vault.sealer()).seal(
        'client-secrets',
        { tenantId: '', id: appId, generation },
        formatAppCredentials(given),
      );
    const values = [
      appId,
      input.provider,
      input.clientId,
      given?.clientSecrets.length ?? null,
      sealed?.bytes ?? null,
      sealed?.dataKeyId ?? null,
      input.overrides ?? null,
      input.limits ?? null,
      input.tenantIds ?? null,
      input.tenantIds !== undefined,
      keyType,
      certificateEnd,
    ];
    const [row] = await queryStore<AppRow>(
      store,
      stored === undefined
        ? {
            name: 'insert-app',
            text: `insert into apps (id, provider, client_id, generation, client_secret_count,
                sealed_client_secrets, client_secrets_key_id, overrides, limits, tenant_ids,
                private_key_type, client_certificate_expires_at)
              values ($1, $2, $3, 1, coalesce($4, 0), $5, $6, coalesce($7::jsonb, '{}'),
                coalesce($8::jsonb, '{}'), case when $10 then $9::text[] end, $11, $12)
              on conflict (id) do nothing
              returning ${appColumns}`,
            values,
          }
        : {
            name: 'update-app',
            text: `with target as materialized (
              select id as target_id, paused_reason as before from apps
              where id = $1 and generation = $13 for update
            ), written as (update apps set provider = $2, client_id = $3,
                generation = generation + case when $4::integer is null then 0 else 1 end,
                client_secret_count = coalesce($4, client_secret_count),
                sealed_client_secrets = coalesce($5, sealed_client_secrets),
                client_secrets_key_id = coalesce($6, client_secrets_key_id),
                overrides = coalesce($7::jsonb, overrides), limits = coalesce($8::jsonb, limits),
                tenant_ids = case when $10 then $9::text[] else tenant_ids end,
                private_key_type = $11, client_certificate_expires_at = $12,
                paused_until = case when not $14::boolean then paused_until end,
                paused_reason = case when not $14::boolean then paused_reason end,
                updated_at = now()
              from target where id = target_id
              returning apps.*, target.before
            ), announced as (
              ${announceRecovery('written a')}
            ), forgotten as (
              delete from app_gates g using written where g.app_id = written.id and $14::boolean
            )
            select ${appColumns} from written`,
            values: [...values, stored.generation, isNewRegistration(input, stored.app)],
          },
    );
    return row && appFromRow(row);
  }

  /**
   * Opened only where the body leaves some of them out, for all lie under one seal: an app whose seal does
   * not open any more is healed by a body that brings them all.
   */
  async function keptCredentials(
    appId: string,
    input: AppInput,
    stored: { app: App; generation: number } | undefined,
  ): Promise<AppCredentials> {
    if (stored === undefined || missingCredentials(input, stored.app).length === 0) {
      return noCredentials();
    }
    const { generation } = stored;
    const [row] = await queryStore<{ sealed_client_secrets: Buffer | null }>(store, {
      name: 'read-app-credentials',
      text: 'select sealed_client_secrets from apps where id = $1 and generation = $2',
      values: [appId, generation],
    });
    const sealed = row?.sealed_client_secrets ?? null;
    if (sealed === null) return noCredentials();
    const owner = { tenantId: '', id: appId, generation };
    return parseAppCredentials(await vault.open('client-secrets', owner, sealed));
  }

  async function deleteUnused(appId: string): Promise<number> {
    try {
      const rows = await queryStore(store, {
        name: 'delete-app',
        text: 'delete from apps where id = $1 returning id',
        values: [appId],
      });
      return rows.length;
    } catch (error) {
      if (sqlStateOf(error) === foreignKeyViolation) throw new TokenManagerError('app_in_use');
      throw error;
    }
  }
}

/** SQL: whatever ended the pause of `a`, whose reason `before` was, nobody has told of it. */
function announceRecovery(source: string): string {
  return announceAppEvent({
    type: 'app.recovered',
    source,
    condition: 'a.before is not null and a.paused_reason is null',
    data: `jsonb_build_object('after', a.before)`,
  });
}

type CredentialFacts = Pick<App, 'privateKeyType' | 'clientCertificateExpiresAt'>;

function keptFacts(stored: App | undefined): CredentialFacts {
  return stored ?? { privateKeyType: null, clientCertificateExpiresAt: null };
}

function factsOf({ privateKey, clientCertificate }: AppCredentials): CredentialFacts {
  return {
    privateKeyType: privateKey?.type ?? null,
    clientCertificateExpiresAt:
      clientCertificate && checkClientCertificate(clientCertificate, '/client_certificate'),
  };
}

function refuseWrongKey(type: PrivateKeyType | null, alg: string | null): void {
  if (type === null || alg === null || keyTypeOf(alg) === type) return;
  throw keyFault('/private_key', `must be ${keyTypeOf(alg) ?? 'of another kind'} to sign ${alg}`);
}

function appFromRow(row: AppRow): App {
  return {
    id: row.id,
    provider: row.provider,
    clientId: row.client_id,
    clientSecretCount: row.client_secret_count,
    privateKeyType: row.private_key_type,
    clientCertificateExpiresAt: row.client_certificate_expires_at,
    overrides: row.overrides,
    limits: row.limits,
    tenantIds: row.tenant_ids,
    pausedUntil: row.paused_until,
    pausedReason: row.paused_reason,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
