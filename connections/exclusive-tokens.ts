import type { RotationClass } from './connection.ts';
import { queryStore, type Queryable } from './store-query.ts';

/** Where a second holder of the same refresh token would end the grant of the first. */
const exclusiveClasses = new Set<RotationClass>(['T', 'C', 'X', 'F']);

export function isExclusive(rotationClass: RotationClass): boolean {
  return exclusiveClasses.has(rotationClass);
}

/** A refresh token that only one connection of the app may hold. */
export interface ExclusiveToken {
  appId: string;
  fingerprint: Buffer;
  /** The connection that may hold it; null: none. */
  ownId: string | null;
}

/**
 * Until the transaction ends, imports of these refresh tokens wait, so that two connections cannot both
 * take one. Answers, in that order, whether another live connection holds it.
 */
export async function lockExclusiveTokens(
  transaction: Queryable,
  tokens: ExclusiveToken[],
): Promise<boolean[]> {
  await queryStore(transaction, {
    name: 'lock-refresh-tokens',
    // In one order, so that two imports of the same tokens wait for each other and do not deadlock.
    text: `select pg_advisory_xact_lock(k) from (
        select distinct k from unnest($1::bigint[]) k order by k) as keys`,
    values: [tokens.map(({ fingerprint }) => fingerprint.readBigInt64BE(0).toString())],
  });
  // A statement of its own: its snapshot holds what the locks were waited for.
  const rows = await queryStore<{ is_held: boolean }>(transaction, {
    name: 'find-second-holders',
    text: `select exists (select from connections c
        where c.app_id = given.app_id and c.refresh_fingerprint = given.fingerprint
          and c.id is distinct from given.own_id and c.deleted_at is null) as is_held
      from unnest($1::text[], $2::bytea[], $3::text[]) with ordinality
        as given (app_id, fingerprint, own_id, position)
      order by position`,
    values: [
      tokens.map(({ appId }) => appId),
      tokens.map(({ fingerprint }) => fingerprint),
      tokens.map(({ ownId }) => ownId),
    ],
  });
  return rows.map(({ is_held }) => is_held);
}
