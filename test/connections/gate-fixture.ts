import { randomUUID } from 'node:crypto';
import type { AppGates, GateEnd, GateEntry, GateRequest } from '../../connections/app-gate.ts';
import type { StoreFixture } from './store-fixture.ts';

export const host = 'as.example.com';
export const noLimits = { perWindow: null, concurrency: null };
export const misconfigured: GateEnd = {
  kind: 'misconfigured',
  code: 'invalid_client',
  pausesApp: true,
};
export const unavailable: GateEnd = { kind: 'unavailable', retryAfterMs: null };

export function gateRequest(appId: string, members: Partial<GateRequest> = {}): GateRequest {
  return {
    appId,
    host,
    connectionId: `c-${randomUUID()}`,
    claimId: randomUUID(),
    leaseMs: 60_000,
    limits: noLimits,
    isUrgent: false,
    ...members,
  };
}

/** An entry that must be granted. */
export async function enterOpen(gates: AppGates, request: GateRequest): Promise<GateEntry> {
  const answer = await gates.enter(request);
  if (answer.kind !== 'open') throw new Error(`the gate answered ${JSON.stringify(answer)}`);
  return answer.entry;
}

/** A whole send with this end. */
export async function send(gates: AppGates, request: GateRequest, end: GateEnd): Promise<void> {
  await gates.leave(await enterOpen(gates, request), end);
}

/** An app with a success just now; answers its id. */
export async function addProvenApp(fixture: StoreFixture, gates: AppGates): Promise<string> {
  const appId = await fixture.addApp();
  await send(gates, gateRequest(appId), { kind: 'succeeded' });
  return appId;
}

/** Lets so many seconds pass for all that is stored of the app. */
export async function passSeconds(
  { pool }: StoreFixture,
  appId: string,
  seconds: number,
): Promise<void> {
  const shift = (column: string): string => `${column} = ${column} - make_interval(secs => $2)`;
  const gateTimes = ['last_success_at', 'closed_at', 'closed_until', 'suspected_at'];
  await pool.query(
    `update app_gates set ${gateTimes.map(shift).join(', ')},
      recent_sends = array(select s - make_interval(secs => $2) from unnest(recent_sends) s),
      leases = coalesce((select jsonb_object_agg(key, value::numeric - $2::double precision * 1000)
        from jsonb_each(leases)), '{}')
     where app_id = $1`,
    [appId, seconds],
  );
  await pool.query(`update apps set ${shift('paused_until')} where id = $1`, [appId, seconds]);
}

export async function gateRow(
  { pool }: StoreFixture,
  appId: string,
): Promise<Record<string, unknown>> {
  const { rows } = await pool.query<Record<string, unknown>>(
    `select *, round(extract(epoch from closed_until - closed_at) * 1000)::double precision as closed_ms
     from app_gates where app_id = $1`,
    [appId],
  );
  const [row] = rows;
  if (row === undefined) throw new Error('there is no such gate');
  return row;
}

export async function appRow({ pool }: StoreFixture, appId: string) {
  const { rows } = await pool.query<{ paused_reason: string | null; rest_s: number | null }>(
    `select paused_reason, extract(epoch from paused_until - clock_timestamp())::double precision as rest_s
     from apps where id = $1`,
    [appId],
  );
  const [row] = rows;
  if (row === undefined) throw new Error('there is no such app');
  return row;
}

export async function appEvents({ pool }: StoreFixture, appId: string): Promise<string[]> {
  const { rows } = await pool.query<{ type: string }>(
    `select type from events where app_id = $1 and connection_id is null order by id`,
    [appId],
  );
  return rows.map(({ type }) => type);
}
