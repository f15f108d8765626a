import { setTimeout as sleep } from 'node:timers/promises';
import type { Stores } from './stores.ts';

/** Until every gateway has heard a notice. */
const noticeMs = 200;

/** As if their lives were over, and their last exchanges long ago; every gateway hears of it. */
export async function expireTokens({ pool }: Stores, connectionIds: string[]): Promise<void> {
  await pool.query(
    `update connections set expires_at = clock_timestamp() - interval '1 second', refresh_due_at = null,
       last_sent_at = null
     where id = any($1)`,
    [connectionIds],
  );
  await pool.query(`select pg_notify('token_changes', id) from unnest($1::text[]) id`, [
    connectionIds,
  ]);
  await sleep(noticeMs);
}
