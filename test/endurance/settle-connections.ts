import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import type { Callers } from './callers.ts';
import type { EnduranceConnection } from './connection-mix.ts';

const atOnce = 24;
const pauseMs = 1_000;

/** How a connection stands at the end. */
export interface ConnectionOutcome {
  connectionId: string;
  class: string;
  /** `active` only if it was refreshed after the last fault, so that the stored refresh token is known to live. */
  status: string;
  isRight: boolean;
  /** For people: what stands in the way. */
  waitsFor: string;
}

interface Standing {
  id: string;
  verdict: string | null;
  token_version: string;
  uncertain_since: Date | null;
  expires_at: Date | null;
  last_refreshed_at: Date | null;
  next_attempt_at: Date | null;
  failure: string | null;
  intent: string | null;
}

/**
 * Waits until every connection has come to its end: refreshed once more after the last fault, or ended
 * with a verdict. Whoever is not there when the time is up stands in the wrong state.
 */
export async function settleConnections(options: {
  connections: readonly EnduranceConnection[];
  callers: Callers;
  pool: Pool;
  /** From then on nothing was broken: a refresh after it proves that the stored refresh token lives. */
  healedAt: Date;
  limitMs: number;
}): Promise<ConnectionOutcome[]> {
  const { connections, callers, pool, healedAt, limitMs } = options;
  const endsAtMs = performance.now() + limitMs;
  const ended = new Map<string, ConnectionOutcome>();
  const end = ({ id, app }: EnduranceConnection, status: string): void => {
    ended.set(id, {
      connectionId: id,
      class: app.class,
      status,
      isRight: true,
      waitsFor: '',
    });
  };
  for (;;) {
    const standings = await readStandings(pool);
    for (const connection of connections) {
      const standing = standings.get(connection.id);
      if (standing?.verdict != null) end(connection, standing.verdict);
      else if (isProven(standing, healedAt)) end(connection, 'active');
    }
    const open = connections.filter(({ id }) => !ended.has(id));
    if (open.length === 0 || performance.now() > endsAtMs) {
      return connections.map(
        (connection) => ended.get(connection.id) ?? unsettled(connection, standings),
      );
    }
    await eachAtOnce(open, async (connection) => {
      const { token } = await callers.call(connection, 'force');
      if (token !== null) end(connection, 'active');
    });
    await sleep(pauseMs);
  }
}

function isProven(standing: Standing | undefined, healedAt: Date): boolean {
  if (standing?.last_refreshed_at == null || standing.uncertain_since !== null) return false;
  return standing.last_refreshed_at > healedAt;
}

function unsettled(
  { id, app }: EnduranceConnection,
  standings: Map<string, Standing>,
): ConnectionOutcome {
  const standing = standings.get(id);
  const facts = [
    standing?.failure == null ? null : `last failure ${standing.failure}`,
    standing?.next_attempt_at == null
      ? null
      : `next attempt ${standing.next_attempt_at.toISOString()}`,
    standing?.expires_at == null ? null : `token until ${standing.expires_at.toISOString()}`,
    standing?.intent == null ? null : `intent ${standing.intent}`,
  ];
  return {
    connectionId: id,
    class: app.class,
    status: standing?.uncertain_since == null ? 'not refreshed' : 'uncertain',
    isRight: false,
    waitsFor: facts.filter((fact) => fact !== null).join(', '),
  };
}

async function readStandings(pool: Pool): Promise<Map<string, Standing>> {
  const { rows } = await pool.query<Standing>(
    `select c.id, c.verdict, c.token_version, c.uncertain_since, c.expires_at, c.last_refreshed_at,
       c.next_attempt_at,
       c.failure_class || ' ' || c.failure_code as failure,
       'generation ' || i.generation || ' attempt ' || i.attempt || ' replays ' || i.replays
         || ' answer_by ' || i.answer_by as intent
     from connections c left join refresh_intents i on i.connection_id = c.id`,
  );
  return new Map(rows.map((row) => [row.id, row]));
}

async function eachAtOnce<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const left = [...items];
  const take = async (): Promise<void> => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, take));
}
