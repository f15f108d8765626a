import { TokenManagerError } from '../client/contract.ts';
import { Secret } from '../platform/secret.ts';
import type { App, AppInput, ProviderRules } from './app.ts';
import { pageOf, parseCursor } from './page-cursor.ts';
import type { AppRegistry } from './registry.ts';
import { queryStore, sqlStateOf, type Queryable } from './store-query.ts';
import type { TokenVault } from './token-vault.ts';

const conflictRetriesMax = 5;
const foreignKeyViolation = '23503';

/** `isAppPaused` in SQL. */
const isPaused = `(paused_reason is not null
  and (paused_until is null or paused_until > clock_timestamp()))`;
const appColumns = `id, provider, client_id, generation, client_secret_count, overrides, limits, tenant_ids,
  case when ${isPaused} then paused_until end as paused_until,
  case when ${isPaused} then paused_reason end as paused_reason, created_at, updated_at`;

interface AppRow {
  id: string;
  provider: string;
  client_id: string;
  generation: string;
  client_secret_count: number;
  overrides: Record<string, unknown>;
  limits: Record<string, unknown>;
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
    async get(appId) {
      return (await find(appId))?.app;
    },

    async list({ limit, cursor }) {
      const rows = await queryStore<AppRow>(store, {
        name: 'list-apps',
        text: `select ${appColumns} from apps where id > $1 order by id limit $2`,
        values: [parseCursor(cursor), limit + 1],
      });
      return pageOf(rows, limit, appFromRow);
    },

    async put(appId, input) {
      for (let round = 0; round < conflictRetriesMax; round += 1) {
        const stored = await find(appId);
        refuseRedirect(input, stored?.app, providers);
        const app = await write(appId, input, stored);
        if (app !== undefined) return { app, created: stored === undefined };
      }
      throw new TokenManagerError('store_unavailable', {
        detail: 'The app is being written by others; try again.',
        retryAfterSeconds: 1,
      });
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
    const secrets = input.clientSecrets;
    // Kept secrets keep their seal, so their generation: only new credentials raise it.
    const sealed =
      secrets === undefined
        ? null
        : (await vault.sealer()).seal(
            'client-secrets',
            { tenantId: '', id: appId, generation },
            new Secret(JSON.stringify(secrets.map((secret) => secret.reveal()))),
          );
    const values = [
      appId,
      input.provider,
      input.clientId,
      secrets?.length ?? null,
      sealed?.bytes ?? null,
      sealed?.dataKeyId ?? null,
      input.overrides ?? null,
      input.limits ?? null,
      input.tenantIds ?? null,
      input.tenantIds !== undefined,
    ];
    const [row] = await queryStore<AppRow>(
      store,
      stored === undefined
        ? {
            name: 'insert-app',
            text: `insert into apps (id, provider, client_id, generation, client_secret_count,
                sealed_client_secrets, client_secrets_key_id, overrides, limits, tenant_ids)
              values ($1, $2, $3, 1, coalesce($4, 0), $5, $6, coalesce($7::jsonb, '{}'),
                coalesce($8::jsonb, '{}'), case when $10 then $9::text[] end)
              on conflict (id) do nothing
              returning ${appColumns}`,
            values,
          }
        : {
            name: 'update-app',
            text: `update apps set provider = $2, client_id = $3,
                generation = generation + case when $4::integer is null then 0 else 1 end,
                client_secret_count = coalesce($4, client_secret_count),
                sealed_client_secrets = coalesce($5, sealed_client_secrets),
                client_secrets_key_id = coalesce($6, client_secrets_key_id),
                overrides = coalesce($7::jsonb, overrides), limits = coalesce($8::jsonb, limits),
                tenant_ids = case when $10 then $9::text[] else tenant_ids end,
                paused_until = case when $4::integer is null and client_id = $3 then paused_until end,
                paused_reason = case when $4::integer is null and client_id = $3 then paused_reason end,
                updated_at = now()
              where id = $1 and generation = $11
              returning ${appColumns}`,
            values: [...values, stored.generation],
          },
    );
    return row && appFromRow(row);
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

/** A PUT that sends tokens or secrets to another host must bring the secrets again. */
function refuseRedirect(input: AppInput, stored: App | undefined, providers: ProviderRules): void {
  const facts = providers.describe(input.provider, input.overrides ?? stored?.overrides ?? {});
  if (stored === undefined || input.clientSecrets !== undefined) return;
  if (stored.clientSecretCount === 0) return;
  const before = providers.describe(stored.provider, stored.overrides);
  if (facts.endpointHosts.every((host) => before.endpointHosts.includes(host))) return;
  throw new TokenManagerError('input_validation', {
    errors: [
      {
        pointer: '/client_secrets',
        detail: 'must be given again when the host of an endpoint changes',
      },
    ],
  });
}

function appFromRow(row: AppRow): App {
  return {
    id: row.id,
    provider: row.provider,
    clientId: row.client_id,
    clientSecretCount: row.client_secret_count,
    overrides: row.overrides,
    limits: row.limits,
    tenantIds: row.tenant_ids,
    pausedUntil: row.paused_until,
    pausedReason: row.paused_reason,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
