import type { RefreshTrigger } from '../client/contract.ts';
import { logAttempt } from './attempts-log.ts';
import type { Fence } from './exchange.ts';
import { queryStore, type Queryable } from './store-query.ts';

export async function markUncertain(
  store: Queryable,
  fence: Fence,
  refreshDueAfterMs: number | null,
  trigger: RefreshTrigger,
): Promise<void> {
  await queryStore(store, {
    name: 'mark-uncertain',
    text: `with target as (
        select c.id, i.workflow_run_id,
          extract(epoch from least(clock_timestamp(), i.answer_by) - i.sent_at) * 1000 as open_ms
        from connections c
        join refresh_intents i on i.connection_id = c.id
          and i.generation = c.generation and i.attempt = c.attempt
        where c.id = $1 and c.generation = $2 and c.attempt = $3 and c.uncertain_since is null
        for update of c
      ), ${logAttempt({
        source: 'target',
        outcome: `'uncertain'`,
        class: `'ambiguous'`,
        code: `'end_unknown'`,
        durationMs: 'greatest(open_ms, 0)::integer',
        trigger: '$5::text',
        runId: 'workflow_run_id',
      })}
      update connections c
      set uncertain_since = clock_timestamp(),
        refresh_due_at = clock_timestamp() + make_interval(secs => $4::double precision / 1000),
        updated_at = now()
      from target where c.id = target.id`,
    values: [fence.connectionId, fence.generation, fence.attempt, refreshDueAfterMs, trigger],
  });
}

export async function deferResolution(
  store: Queryable,
  fence: Fence,
  refreshDueAfterMs: number | null,
): Promise<void> {
  await queryStore(store, {
    name: 'defer-resolution',
    text: `update connections
      set refresh_due_at = clock_timestamp() + make_interval(secs => $4::double precision / 1000),
        updated_at = now()
      where id = $1 and generation = $2 and attempt = $3 and uncertain_since is not null`,
    values: [fence.connectionId, fence.generation, fence.attempt, refreshDueAfterMs],
  });
}
