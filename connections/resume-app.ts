import { isDeepStrictEqual } from 'node:util';
import { bringsCredentials } from './app-credentials.ts';
import type { App, AppInput } from './app.ts';
import { queryStore, type Queryable } from './store-query.ts';

/** So many connections a second are let go, once their app works again. */
const releasedPerSecond = 50;
const spreadMinSeconds = 1;
const spreadMaxSeconds = 300;
/** Rows that one statement locks. */
const batchMax = 1_000;

/** What the provider refused may be right now: the app is judged anew. */
export function isNewRegistration(input: AppInput, stored: App): boolean {
  return (
    bringsCredentials(input) ||
    input.clientId !== stored.clientId ||
    input.provider !== stored.provider ||
    (input.overrides !== undefined && !isDeepStrictEqual(input.overrides, stored.overrides))
  );
}

/**
 * Lets go the connections of an app that wait because the provider refused its client, spread so that
 * they do not all come at once. What is left of the wait is our own pacing, so their failure is cleared;
 * each batch is a statement of its own, and a second call goes on where a first one was cut off.
 */
export async function releaseConnections(store: Queryable, appId: string): Promise<void> {
  const [counted] = await queryStore<{ count: number }>(store, {
    name: 'count-misconfigured-connections',
    text: `select count(*)::integer as count from connections
      where app_id = $1 and failure_class = 'misconfigured'`,
    values: [appId],
  });
  const spreadSeconds = Math.min(
    Math.max((counted?.count ?? 0) / releasedPerSecond, spreadMinSeconds),
    spreadMaxSeconds,
  );
  let after: string | undefined = '';
  while (after !== undefined) after = await releaseBatch(store, appId, after, spreadSeconds);
}

/** The last id of a full batch; undefined: that was all. */
async function releaseBatch(
  store: Queryable,
  appId: string,
  after: string,
  spreadSeconds: number,
): Promise<string | undefined> {
  const rows = await queryStore<{ id: string }>(store, {
    name: 'release-connections',
    text: `with waiting as (
        select id, clock_timestamp() + make_interval(secs => random() * $3::double precision) as go_at
        from connections
        where app_id = $1 and failure_class = 'misconfigured' and id > $2
        order by id limit ${batchMax} for update
      )
      update connections c set next_attempt_at = w.go_at, refresh_due_at = w.go_at,
        failure_class = null, failure_code = null, failure_at = null, failure_count = 0,
        updated_at = now()
      from waiting w where c.id = w.id
      returning c.id`,
    values: [appId, after, spreadSeconds],
  });
  if (rows.length < batchMax) return undefined;
  return rows.reduce((last, { id }) => (id > last ? id : last), after);
}
