import { announceEvent } from './announce-event.ts';
import { logAttempt } from './attempts-log.ts';
import { noticeBefore } from './grant-lifetime.ts';
import type { AttemptRecord, CommitOutcome, Fence, LateFence, SealedTokens } from './exchange.ts';
import { addLateTokens } from './revocation-store.ts';
import { queryStore, type Queryable } from './store-query.ts';
import { tellTokenChange } from './token-notices.ts';
import type { SealedValue } from './token-vault.ts';

const roundsMax = 8;

interface Announcing {
  /** Whether somebody wants an event of each refresh. */
  announcesRefreshes: boolean;
}

/** SQL: the scopes of one list, separated by spaces or commas, that the other lacks; their order is nothing. */
function scopesMissing(list: string, other: string): string {
  const scopesOf = (text: string) => `select regexp_split_to_table(trim(${text}), '[\\s,]+')`;
  return `array(${scopesOf(list)} except ${scopesOf(other)} order by 1)`;
}

/**
 * Stores the tokens of one attempt. They lose only to a newer generation or to tokens of a later
 * attempt of the same generation (P5): that the run was terminated, or a later attempt settled without
 * tokens, is no reason to drop them. Idempotent: what is stored already is `superseded`.
 */
export async function commitTokens(
  store: Queryable,
  fence: Fence,
  tokens: SealedTokens,
  record: AttemptRecord | null,
  { sealedResult, announcesRefreshes }: { sealedResult: () => SealedValue } & Announcing,
): Promise<CommitOutcome> {
  let newest = fence.attempt;
  for (let round = 0; round < roundsMax; round += 1) {
    if (await commitAt(store, { ...fence, attempt: newest }, tokens, record, announcesRefreshes))
      return 'stored';
    const position = await readPosition(store, fence.connectionId);
    if (position?.generation !== fence.generation) {
      // Of no use to a newer import, but live: if a DELETE ended their generation, they are to be revoked.
      await addLateTokens(store, { ...fence, ...tokens });
      return 'superseded';
    }
    newest = position.attempt;
    if (position.openAttempt > fence.attempt) {
      if (await leaveLate(store, fence, sealedResult())) return 'late';
    }
  }
  // Every round lost a race to another statement of the same connection; the caller tries again.
  throw new Error('the commit met another writer each time');
}

/**
 * Stores the tokens that lie in the newest intent, of `fence.lateAttempt`; false if they do no longer,
 * as when those of a later attempt have come.
 */
export function commitLateTokens(
  store: Queryable,
  fence: LateFence,
  tokens: SealedTokens,
  record: AttemptRecord | null,
  { announcesRefreshes }: Announcing,
): Promise<boolean> {
  return commitAt(store, fence, tokens, record, announcesRefreshes);
}

const isEndFixed = `(c.reauthorize_by is null and $15::timestamptz is not null
            and $15 <= c.refresh_token_expires_at + interval '1 minute')`;

const newestAttempt = `select c.id, c.tenant_id, c.app_id, c.verdict, c.scope from connections c
        where c.id = $1 and c.generation = $2 and c.attempt = $3 for update`;
/** The intent is locked too: late tokens come into it without touching the connection's row. */
const newestLateTokens = `select c.id, c.tenant_id, c.app_id, c.verdict, c.scope from connections c
        join refresh_intents i on i.connection_id = c.id
          and i.generation = c.generation and i.attempt = c.attempt
        where c.id = $1 and c.generation = $2 and c.attempt = $3 and i.late_attempt = $25
        for update of c, i`;

/** One compare-and-swap: only while the position of the connection is the one that was read. */
async function commitAt(
  store: Queryable,
  position: Fence & { lateAttempt?: number },
  tokens: SealedTokens,
  record: AttemptRecord | null,
  announcesRefreshes: boolean,
): Promise<boolean> {
  const isLate = position.lateAttempt !== undefined;
  const rows = await queryStore(store, {
    name: isLate ? 'commit-late-tokens' : 'commit-tokens',
    text: `with target as (
        ${isLate ? newestLateTokens : newestAttempt}
      ), stored as (
        update connections c set
          generation = c.generation + 1,
          token_version = c.token_version + case when $4 then 1 else 0 end,
          sealed_access_token = $5, access_key_id = $6,
          sealed_refresh_token = $7, refresh_key_id = $8, refresh_fingerprint = $9,
          token_type = $10, scope = $11, expires_at = $12, lifetime_seconds = $13, expiry_assumed = $14,
          refresh_token_expires_at = coalesce($15, c.refresh_token_expires_at),
          -- An end that a refresh has not put off is the end of the grant.
          reauthorize_by = case when ${isEndFixed} then $15 else c.reauthorize_by end,
          reauthorize_notice_at = case when ${isEndFixed} then ${noticeBefore('$15::timestamptz')}
            else c.reauthorize_notice_at end,
          -- It was drawn when the answer came, which may be long ago; greatest() alone would end a null.
          refresh_due_at = case when $16::timestamptz is not null
            then greatest($16, clock_timestamp() + interval '1 second') end,
          metadata = c.metadata || $17::jsonb,
          last_refreshed_at = case when $4 then clock_timestamp() else c.last_refreshed_at end,
          failure_class = $18, failure_code = $19,
          failure_at = case when $18::text is null then null else clock_timestamp() end,
          failure_count = case when $18::text is null then 0 else c.failure_count + 1 end,
          next_attempt_at = clock_timestamp() + make_interval(secs => $20::double precision / 1000),
          verdict = null, verdict_at = null, probe_requested_at = null, uncertain_since = null,
          updated_at = now()
        from target where c.id = target.id
        returning c.id, c.tenant_id, c.app_id, c.generation, c.token_version
      ), removed as (
        delete from refresh_intents i using stored where i.connection_id = stored.id
      ), remembered as (
        insert into refresh_token_fingerprints (connection_id, fingerprint)
        select id, $9 from stored where $9::bytea is not null
        on conflict (connection_id, fingerprint) do update set held_at = now()
      ), ${logAttempt({
        source: 'stored',
        condition: '$22::text is not null',
        outcome: `case when $18::text is null then 'refreshed' else 'waiting' end`,
        class: '$18::text',
        code: '$19::text',
        durationMs: '$21::integer',
        trigger: '$22',
        runId: '$23',
      })}, recovered as (
        ${announceEvent({
          type: 'connection.recovered',
          source: 'target t join stored s on s.id = t.id',
          condition: 't.verdict is not null',
          data: `jsonb_build_object('after', t.verdict)`,
        })}
      ), rescoped as (
        select t.id, t.tenant_id, t.app_id,
          ${scopesMissing('t.scope', '$11')} as removed, ${scopesMissing('$11', 't.scope')} as added
        from target t join stored s on s.id = t.id
        where $4 and t.scope <> $11
      ), scope_changed as (
        ${announceEvent({
          type: 'connection.scope_changed',
          source: 'rescoped t',
          condition: 'cardinality(t.removed) + cardinality(t.added) > 0',
          data: `jsonb_build_object('removed', t.removed, 'added', t.added)`,
        })}
      ), refreshed as (
        ${announceEvent({
          type: 'connection.refreshed',
          source: 'stored t',
          condition: '$4 and $24',
          data: `jsonb_build_object('token_version', t.token_version)`,
        })}
      )
      select s.id,
        case when $4 or t.verdict is not null then ${tellTokenChange('s.id')} end
      from stored s join target t on t.id = s.id`,
    values: [
      position.connectionId,
      position.generation,
      position.attempt,
      tokens.isNewAccessToken,
      tokens.accessToken?.bytes ?? null,
      tokens.accessToken?.dataKeyId ?? null,
      tokens.refreshToken?.bytes ?? null,
      tokens.refreshToken?.dataKeyId ?? null,
      tokens.refreshFingerprint,
      tokens.tokenType,
      tokens.scope,
      tokens.expiresAt,
      tokens.lifetimeSeconds,
      tokens.expiryAssumed,
      tokens.refreshTokenExpiresAt,
      tokens.refreshDueAt,
      tokens.metadata,
      tokens.failure?.class ?? null,
      tokens.failure?.code ?? null,
      tokens.failure?.retryAfterMs ?? null,
      record?.durationMs ?? null,
      record?.trigger ?? null,
      record?.runId ?? null,
      announcesRefreshes,
      ...(isLate ? [position.lateAttempt] : []),
    ],
  });
  return rows.length === 1;
}

/** Where the connection stands; `openAttempt` is 0 without an open intent of this generation. */
async function readPosition(
  store: Queryable,
  connectionId: string,
): Promise<{ generation: number; attempt: number; openAttempt: number } | undefined> {
  const [row] = await queryStore<{
    generation: string;
    attempt: string;
    open_attempt: string | null;
  }>(store, {
    name: 'read-exchange-position',
    text: `select c.generation, c.attempt, i.attempt as open_attempt
        from connections c
        left join refresh_intents i on i.connection_id = c.id and i.generation = c.generation
        where c.id = $1`,
    values: [connectionId],
  });
  if (row === undefined) return undefined;
  return {
    generation: Number(row.generation),
    attempt: Number(row.attempt),
    openAttempt: Number(row.open_attempt ?? 0),
  };
}

/** A later attempt is open: it stores its own tokens, or these. The newest late ones are kept. */
async function leaveLate(
  store: Queryable,
  fence: Fence,
  sealedResult: SealedValue,
): Promise<boolean> {
  const rows = await queryStore(store, {
    name: 'leave-late-tokens',
    text: `update refresh_intents i
      set late_attempt = case when coalesce(i.late_attempt, 0) >= $3 then i.late_attempt else $3 end,
        late_sealed = case when coalesce(i.late_attempt, 0) >= $3 then i.late_sealed else $4 end
      where i.connection_id = $1 and i.generation = $2 and i.attempt > $3
      returning i.attempt`,
    values: [fence.connectionId, fence.generation, fence.attempt, sealedResult.bytes],
  });
  return rows.length === 1;
}
