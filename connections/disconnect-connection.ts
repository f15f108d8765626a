import { TokenManagerError } from '../client/contract.ts';
import type { ProviderRules } from './app.ts';
import type { DisconnectState, VisibleTenants } from './registry.ts';
import { queryStore, tenantsParameter, type Queryable } from './store-query.ts';
import { tellTokenChange } from './token-notices.ts';

/** Somebody else deleted or revived the connection between reading and writing it. */
const roundsMax = 3;
const revokingRetryAfterSeconds = 5;

/**
 * `DELETE /v1/connections/{id}`: in one statement the tokens can be read no more, every refresh in flight
 * has lost its fence, and what is to be revoked is written down. Without a revocation endpoint nothing is
 * left to do, and the tombstone remains. Idempotent; undefined: no such connection, or not visible.
 */
export async function disconnectConnection(
  dependencies: { store: Queryable; providers: Pick<ProviderRules, 'describe'> },
  connectionId: string,
  visibleTo: VisibleTenants,
): Promise<DisconnectState | undefined> {
  const { store } = dependencies;
  for (let round = 0; round < roundsMax; round += 1) {
    const found = await readStanding(store, connectionId, visibleTo);
    if (found === undefined) return undefined;
    if (found.state !== null) return found.state;
    const revokes = canRevoke(dependencies, found);
    if (await writeDisconnect(store, connectionId, revokes)) return revokes ? 'revoking' : 'done';
  }
  return 'revoking';
}

interface Standing {
  provider: string;
  overrides: Record<string, unknown>;
  /** Null: the connection is not deleted. */
  state: DisconnectState | null;
}

async function readStanding(
  store: Queryable,
  connectionId: string,
  visibleTo: VisibleTenants,
): Promise<Standing | undefined> {
  const [row] = await queryStore<Standing>(store, {
    name: 'read-disconnect',
    text: `select a.provider, a.overrides, case when c.deleted_at is null then null
          when c.app_id is null then 'done' else 'revoking' end as state
      from connections c left join apps a on a.id = c.app_id
      where c.id = $1 and ($2::text[] is null or c.tenant_id = any($2))`,
    values: [connectionId, tenantsParameter(visibleTo)],
  });
  return row;
}

function canRevoke(
  { providers }: { providers: Pick<ProviderRules, 'describe'> },
  { provider, overrides }: Standing,
): boolean {
  try {
    return providers.describe(provider, overrides).canRevoke;
  } catch {
    // The definition does not hold today; when it is put right there may be somebody to tell.
    return true;
  }
}

/** False: it was deleted meanwhile. What the closing exchange may need stays until all is done. */
async function writeDisconnect(
  store: Queryable,
  connectionId: string,
  revokes: boolean,
): Promise<boolean> {
  const rows = await queryStore(store, {
    name: 'disconnect-connection',
    text: `with target as (
        select * from connections where id = $1 and deleted_at is null for update
      ), recorded as (
        insert into revocations (connection_id, tenant_id, app_id, variables, generation, is_disconnect,
          token_kind, sealed_token, data_key_id, token_id)
        select id, tenant_id, app_id, variables, generation, true,
          case when sealed_refresh_token is null then 'access_token' else 'refresh_token' end,
          coalesce(sealed_refresh_token, sealed_access_token), coalesce(refresh_key_id, access_key_id),
          coalesce(refresh_fingerprint, sha256(coalesce(sealed_access_token, convert_to(id, 'UTF8'))))
        from target where $2
        on conflict (connection_id, token_id) do update set generation = excluded.generation,
          is_disconnect = true, app_id = excluded.app_id, variables = excluded.variables,
          sealed_token = excluded.sealed_token, data_key_id = excluded.data_key_id,
          state = 'pending', attempts = 0, revoked_at = null, last_code = null,
          next_attempt_at = now(), created_at = now()
      ), forgotten as (
        delete from refresh_intents i using target where i.connection_id = target.id and not $2
      ), deleted as (
        update connections c set deleted_at = clock_timestamp(), generation = c.generation + 1,
          sealed_access_token = null, access_key_id = null,
          sealed_refresh_token = null, refresh_key_id = null, refresh_fingerprint = null,
          refresh_due_at = null, next_attempt_at = null, reauthorize_by = null,
          reauthorize_notice_at = null, probe_requested_at = null, paused_at = null, verdict = null,
          verdict_at = null, uncertain_since = null, failure_class = null, failure_code = null,
          failure_at = null, failure_count = 0, expires_at = null, refresh_token_expires_at = null,
          ${tombstone(`not $2`)}, updated_at = now()
        from target where c.id = target.id
        returning c.id
      )
      select id, ${tellTokenChange('id')} from deleted`,
    values: [connectionId, revokes],
  });
  return rows.length === 1;
}

/** Tells whoever writes a connection in that state to come again. */
export function revoking(connectionId: string): TokenManagerError {
  return new TokenManagerError('connection_revoking', {
    connectionId,
    retryAfterSeconds: revokingRetryAfterSeconds,
  });
}

/** Assignments that leave of a deleted connection its id, tenant and counters. */
export function tombstone(condition: string): string {
  const emptied = { app_id: 'null', sealed_dpop_key: 'null', dpop_key_id: 'null', scope: 'null' };
  const cleared = { ...emptied, variables: `'{}'`, metadata: `'{}'`, token_host: 'null' };
  return Object.entries(cleared)
    .map(
      ([column, value]) => `${column} = case when ${condition} then ${value} else c.${column} end`,
    )
    .join(', ');
}
