import type { FailureClass, RefreshOutcome, RefreshTrigger } from '../client/contract.ts';
import { pageOf, parseSequenceCursor } from './page-cursor.ts';
import type { LoggedAttempt, Page, VisibleTenants } from './registry.ts';
import { queryStore, tenantsParameter, type Queryable } from './store-query.ts';

/** Attempts of a connection that the log keeps. */
const attemptsKept = 50;

/**
 * Parts of the statements that record an attempt, so that the line is written in the statement that
 * changes the state. `source` is a CTE with the connection's id; the rest are SQL expressions.
 */
export function logAttempt(line: {
  source: string;
  condition?: string;
  outcome: string;
  class: string;
  code: string;
  durationMs: string;
  trigger: string;
  runId: string;
}): string {
  return `logged as (
        insert into refresh_log (connection_id, outcome, class, code, duration_ms, trigger, run_id)
        select id, ${line.outcome}, ${line.class}, ${line.code}, ${line.durationMs}, ${line.trigger}, ${line.runId}
        from ${line.source} ${line.condition === undefined ? '' : `where ${line.condition}`}
      ), trimmed as (
        delete from refresh_log l using ${line.source} s
        where l.connection_id = s.id and l.id <= (select id from refresh_log
          where connection_id = s.id order by id desc offset ${attemptsKept - 1} limit 1)
      )`;
}

interface AttemptRow {
  id: string | null;
  at: Date;
  outcome: RefreshOutcome;
  class: FailureClass | null;
  code: string | null;
  duration_ms: number;
  trigger: RefreshTrigger;
  run_id: string;
}

/** The newest first. Undefined: no such connection, deleted, or of a tenant that is not visible. */
export async function listAttempts(
  store: Queryable,
  connectionId: string,
  { limit, cursor, visibleTo }: { limit: number; cursor?: string; visibleTo: VisibleTenants },
): Promise<Page<LoggedAttempt> | undefined> {
  const rows = await queryStore<AttemptRow>(store, {
    name: 'list-attempts',
    text: `select l.id, l.at, l.outcome, l.class, l.code, l.duration_ms, l.trigger, l.run_id
      from connections c
      left join lateral (
        select * from refresh_log
        where connection_id = c.id and ($2::bigint is null or id < $2)
        order by id desc limit $3
      ) l on true
      where c.id = $1 and c.deleted_at is null
        and ($4::text[] is null or c.tenant_id = any($4))
      order by l.id desc`,
    values: [connectionId, parseSequenceCursor(cursor), limit + 1, tenantsParameter(visibleTo)],
  });
  if (rows.length === 0) return undefined;
  return pageOf(rows.flatMap(attemptFromRow), limit, (attempt) => attempt);
}

/** A connection without attempts is one row of nulls. */
function attemptFromRow(row: AttemptRow): LoggedAttempt[] {
  if (row.id === null) return [];
  const { id, at, outcome, class: failureClass, code, trigger } = row;
  const times = { at, durationMs: row.duration_ms };
  return [{ id, ...times, outcome, class: failureClass, code, trigger, runId: row.run_id }];
}
