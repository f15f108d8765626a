import { announceEvent } from './announce-event.ts';
import { tombstone } from './disconnect-connection.ts';
import type { RefreshIntent } from './exchange.ts';
import { intentColumns, intentFromRow, type IntentRow } from './load-subject.ts';
import {
  giveUpDays,
  type LateTokens,
  type RevocationStore,
  type RevocationSubject,
} from './revocation.ts';
import { queryStore, type Queryable } from './store-query.ts';

const giveUpAfter = `interval '${giveUpDays} days'`;
/** A run that carries a revocation on writes its next try ahead; a start is lost when this has passed. */
const overdueAfter = `interval '2 minutes'`;

interface SubjectRow extends IntentRow {
  tenant_id: string;
  app_id: string | null;
  provider: string | null;
  client_id: string;
  app_generation: string;
  sealed_client_secrets: Buffer | null;
  overrides: Record<string, unknown>;
  sealed_dpop_key: Buffer | null;
  scope: string | null;
  variables: Record<string, string>;
  read_at: Date;
  age_ms: number;
}

interface TokenRow {
  id: string;
  kind: 'refresh_token' | 'access_token';
  sealed: Buffer;
  generation: string;
  attempts: number;
  due_in_ms: number;
  is_revoked: boolean;
}

export function createRevocationStore(store: Queryable): RevocationStore {
  return {
    load: (connectionId) => loadRevocation(store, connectionId),
    addLate: (tokens) => addLateTokens(store, tokens),
    async noteRevoked(tokenId, keep) {
      await queryStore(store, {
        name: 'note-revoked',
        text: `update revocations set revoked_at = coalesce(revoked_at, clock_timestamp()),
            sealed_token = case when $2 then sealed_token end,
            data_key_id = case when $2 then data_key_id end,
            state = case when is_disconnect then state else 'done' end,
            next_attempt_at = clock_timestamp()
          where id = $1 and state = 'pending'`,
        values: [tokenId, keep],
      });
    },
    async noteFailure(tokenId, { code, retryAfterMs }) {
      const [row] = await queryStore<{ is_given_up: boolean }>(store, {
        name: 'note-revocation-failure',
        text: `with tried as (
            update revocations r set attempts = attempts + 1, last_code = $2,
              next_attempt_at = clock_timestamp() + make_interval(secs => $3::double precision / 1000),
              state = case when clock_timestamp() > created_at + ${giveUpAfter} and not is_disconnect
                then 'given_up' else state end,
              sealed_token = case when clock_timestamp() <= created_at + ${giveUpAfter}
                then sealed_token end,
              data_key_id = case when clock_timestamp() <= created_at + ${giveUpAfter}
                then data_key_id end
            where id = $1 and state = 'pending' and sealed_token is not null
            returning r.connection_id as id, r.tenant_id, r.app_id, r.sealed_token is null as is_given_up
          ), announced as (
            ${announceEvent({
              type: 'connection.revocation_failed',
              source: 'tried t',
              condition: 't.is_given_up and t.app_id is not null',
              data: `jsonb_build_object('code', $2::text)`,
            })}
          )
          select is_given_up from tried`,
        values: [tokenId, code, retryAfterMs],
      });
      return row?.is_given_up === true;
    },
    async takeIntent(intent, { connectionId, claimId, answerWithinMs }) {
      const rows = await queryStore<IntentRow>(store, {
        name: 'take-intent-of-deleted',
        text: `update refresh_intents i set claim_id = $4, replays = i.replays + 1,
            sent_at = clock_timestamp(),
            answer_by = clock_timestamp() + make_interval(secs => $5::double precision / 1000)
          where i.connection_id = $1 and i.generation = $2 and i.claim_id = $3
            and i.answer_by < clock_timestamp() and i.late_sealed is null
          returning ${intentColumns}`,
        values: [connectionId, intent.generation, intent.claimId, claimId, answerWithinMs],
      });
      return rows[0] && (intentFromRow(rows[0]) ?? undefined);
    },
    async endSend(connectionId, { generation, claimId }) {
      await queryStore(store, {
        name: 'end-send-of-deleted',
        text: `update refresh_intents set answer_by = least(answer_by, clock_timestamp())
          where connection_id = $1 and generation = $2 and claim_id = $3`,
        values: [connectionId, generation, claimId],
      });
    },
    removeIntent: (connectionId, intent) => removeIntent(store, connectionId, intent),
    finish: (connectionId) => finishDisconnect(store, connectionId),
    async overdue(limit) {
      const rows = await queryStore<{ connection_id: string; tenant_id: string }>(store, {
        name: 'list-overdue-revocations',
        text: `with oldest as (
            select connection_id, tenant_id, next_attempt_at from revocations
            where state = 'pending' and next_attempt_at < clock_timestamp() - ${overdueAfter}
            order by next_attempt_at limit $1
          )
          select distinct connection_id, tenant_id from oldest`,
        values: [limit],
      });
      return rows.map((row) => ({ connectionId: row.connection_id, tenantId: row.tenant_id }));
    },
    purge: (olderThanMs, limit) => purgeTombstones(store, olderThanMs, limit),
  };
}

async function loadRevocation(
  store: Queryable,
  connectionId: string,
): Promise<RevocationSubject | undefined> {
  const tokens = await queryStore<TokenRow>(store, {
    name: 'load-tokens-to-revoke',
    text: `select id, token_kind as kind, sealed_token as sealed, generation, attempts,
        (extract(epoch from next_attempt_at - clock_timestamp()) * 1000)::double precision as due_in_ms,
        revoked_at is not null as is_revoked
      from revocations
      where connection_id = $1 and state = 'pending' and sealed_token is not null order by id`,
    values: [connectionId],
  });
  const [row] = await queryStore<SubjectRow>(store, {
    name: 'load-revocation',
    text: `select r.tenant_id, r.app_id, r.variables, a.provider, a.client_id,
        a.generation as app_generation, a.sealed_client_secrets, a.overrides,
        c.sealed_dpop_key, c.scope, clock_timestamp() as read_at,
        (extract(epoch from clock_timestamp() - r.created_at) * 1000)::double precision as age_ms, ${intentColumns}
      from revocations r
      join connections c on c.id = r.connection_id
      left join apps a on a.id = r.app_id
      left join refresh_intents i on i.connection_id = c.id and c.deleted_at is not null
        and i.generation < c.generation
      where r.connection_id = $1 and r.state = 'pending'
      order by r.is_disconnect desc, r.id desc limit 1`,
    values: [connectionId],
  });
  if (row === undefined) return undefined;
  return {
    connectionId,
    tenantId: row.tenant_id,
    variables: row.variables,
    tokens: tokens.map((token) => ({
      id: token.id,
      kind: token.kind,
      sealed: token.sealed,
      generation: Number(token.generation),
      attempts: token.attempts,
      dueInMs: token.due_in_ms,
      isRevoked: token.is_revoked,
    })),
    app:
      row.app_id === null || row.provider === null
        ? null
        : {
            id: row.app_id,
            provider: row.provider,
            clientId: row.client_id,
            generation: Number(row.app_generation),
            sealedClientSecrets: row.sealed_client_secrets,
            overrides: row.overrides,
          },
    sealedDpopKey: row.sealed_dpop_key,
    scope: row.scope,
    intent: intentFromRow(row),
    ageMs: row.age_ms,
    readAt: row.read_at,
  };
}

/**
 * The tokens of an exchange whose generation a DELETE has ended, for their fence says nothing to anybody
 * else: they are found valid at the provider, and must not stay so. Their intent is over with them.
 */
export async function addLateTokens(store: Queryable, tokens: LateTokens): Promise<boolean> {
  const token = tokens.refreshToken ?? tokens.accessToken;
  if (token === null) return false;
  const rows = await queryStore(store, {
    name: 'add-late-tokens',
    text: `with ended as (
        select * from revocations
        where connection_id = $1 and generation = $2 and is_disconnect limit 1
      ), removed as (
        delete from refresh_intents i using ended
        where i.connection_id = $1 and i.generation = $2 and i.attempt = $3 and i.late_sealed is null
      ), added as (
        insert into revocations (connection_id, tenant_id, app_id, variables, generation, is_disconnect,
          token_kind, sealed_token, data_key_id, token_id)
        select connection_id, tenant_id, app_id, variables, $2::bigint + 1, false, $4, $5, $6,
          coalesce($7, sha256($5))
        from ended
        on conflict (connection_id, token_id) do nothing
      ), hastened as (
        update revocations r set next_attempt_at = least(r.next_attempt_at, clock_timestamp())
        from ended where r.id = ended.id and r.state = 'pending'
      )
      select id from ended`,
    values: [
      tokens.connectionId,
      tokens.generation,
      tokens.attempt,
      tokens.refreshToken === null ? 'access_token' : 'refresh_token',
      token.bytes,
      token.dataKeyId,
      tokens.refreshToken === null ? null : tokens.refreshFingerprint,
    ],
  });
  return rows.length === 1;
}

async function removeIntent(
  store: Queryable,
  connectionId: string,
  intent: RefreshIntent,
): Promise<boolean> {
  const rows = await queryStore(store, {
    name: 'remove-intent-of-deleted',
    text: `delete from refresh_intents
      where connection_id = $1 and generation = $2 and attempt = $3
        and late_attempt is not distinct from $4
      returning connection_id`,
    values: [connectionId, intent.generation, intent.attempt, intent.late?.attempt ?? null],
  });
  return rows.length === 1;
}

async function finishDisconnect(store: Queryable, connectionId: string): Promise<boolean> {
  const rows = await queryStore(store, {
    name: 'finish-disconnect',
    text: `with target as (
        select c.id from connections c
        where c.id = $1 and c.deleted_at is not null
          and not exists (select from refresh_intents i where i.connection_id = c.id)
          and not exists (select from revocations r where r.connection_id = c.id
            and r.state = 'pending' and r.sealed_token is not null and r.revoked_at is null)
        for update
      ), done as (
        update revocations r set state = 'done', sealed_token = null, data_key_id = null
        from target where r.connection_id = target.id and r.state = 'pending'
      )
      update connections c set ${tombstone('true')}, updated_at = now()
      from target where c.id = target.id
      returning c.id`,
    values: [connectionId],
  });
  return rows.length === 1;
}

async function purgeTombstones(
  store: Queryable,
  olderThanMs: number,
  limit: number,
): Promise<number> {
  const rows = await queryStore(store, {
    name: 'purge-tombstones',
    text: `with old as (
        select id from connections
        where deleted_at < clock_timestamp() - make_interval(secs => $1::double precision / 1000)
          and app_id is null
          and not exists (select from revocations r where r.connection_id = connections.id
            and r.state = 'pending')
        order by deleted_at limit $2 for update skip locked
      ), revoked as (delete from revocations r using old where r.connection_id = old.id
      ), logged as (delete from refresh_log l using old where l.connection_id = old.id
      ), known as (delete from refresh_token_fingerprints f using old where f.connection_id = old.id
      ), intents as (delete from refresh_intents i using old where i.connection_id = old.id)
      delete from connections c using old where c.id = old.id returning c.id`,
    values: [olderThanMs, limit],
  });
  return rows.length;
}
