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
