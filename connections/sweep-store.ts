import { announceEvent } from './announce-event.ts';
import type { AppLimits } from './app.ts';
import { queryStore, type Queryable } from './store-query.ts';
import type { ClaimedConnection, SweepStore } from './sweep.ts';

/** Time for a claimed connection to be started and to write its own due time. */
const claimLasts = `interval '2 minutes'`;
/** Drawn when a closed gate puts connections off, so that they do not all come when it opens. */
const putOffJitterSeconds = 30;

/** Of `connections c`: a refresh of its own accord is for it to be had. Fits the index connections_sweep. */
const isDue = `c.refresh_due_at <= now() and c.paused_at is null and c.deleted_at is null
          and (c.verdict is null or c.probe_requested_at is not null)`;
const isAppPaused = `(a.paused_reason is not null
          and (a.paused_until is null or a.paused_until > now()))`;

interface AppRow {
  id: string;
  provider: string;
  overrides: Record<string, unknown>;
  limits: AppLimits;
  recent_sends: number;
}

interface ClaimedRow {
  id: string;
  tenant_id: string;
  app_id: string;
  token_version: string;
  due_at: Date;
  is_probe: boolean;
  is_put_off: boolean;
  now: Date;
}

export function createSweepStore(store: Queryable): SweepStore {
  return {
    async dueApps(limit) {
      const rows = await queryStore<AppRow>(store, {
        name: 'list-due-apps',
        text: `select a.id, a.provider, a.overrides, a.limits,
            (select count(*) from app_gates g, unnest(g.recent_sends) sent_at
              where g.app_id = a.id and sent_at > now() - make_interval(
                secs => (a.limits -> 'per_window' ->> 'seconds')::double precision))::integer as recent_sends
          from apps a cross join lateral (
            select c.refresh_due_at from connections c where c.app_id = a.id and ${isDue}
            order by c.refresh_due_at limit 1
          ) first
          where not ${isAppPaused}
          order by first.refresh_due_at limit $1`,
        values: [limit],
      });
      return rows.map((row) => ({
        appId: row.id,
        provider: row.provider,
        overrides: row.overrides,
        limits: row.limits,
        recentSends: row.recent_sends,
      }));
    },

    async claim(quotas, limit) {
      const rows = await queryStore<ClaimedRow>(store, {
        name: 'claim-due-connections',
        text: `with wanted as (
            select * from unnest($1::text[], $2::integer[]) as w (app_id, quota)
          ), due as (
            select d.* from wanted w cross join lateral (
              select c.id, c.refresh_due_at as due_at,
                greatest(c.next_attempt_at, case when g.closed_until > now() then g.closed_until end)
                  as wait_until
              from connections c
              left join app_gates g on g.app_id = c.app_id and g.host = c.token_host
              where c.app_id = w.app_id and ${isDue}
              order by c.refresh_due_at limit w.quota for update of c skip locked
            ) d
          ), page as (
            select *, wait_until is not null and wait_until > now() as is_put_off
            from due order by due_at limit $3
          )
          update connections c set refresh_due_at = case
              when p.is_put_off then p.wait_until + make_interval(secs => random() * ${putOffJitterSeconds})
              else clock_timestamp() + ${claimLasts} end
          from page p where c.id = p.id
          returning c.id, c.tenant_id, c.app_id, c.token_version, p.due_at, p.is_put_off,
            c.verdict is not null as is_probe, clock_timestamp() as now`,
        values: [quotas.map(({ appId }) => appId), quotas.map(({ quota }) => quota), limit],
      });
      const claimed = rows.map(claimedFromRow);
      claimed.sort((a, b) => a.dueAt.getTime() - b.dueAt.getTime());
      return { claimed, now: rows[0]?.now ?? new Date(0) };
    },

    async announceEnds(limit) {
      const rows = await queryStore(store, {
        name: 'announce-ends',
        text: `with near as (
            select id from connections
            where reauthorize_notice_at <= clock_timestamp() and deleted_at is null
            order by reauthorize_notice_at limit $1 for update skip locked
          ), told as (
            update connections c set reauthorize_notice_at = null
            from near where c.id = near.id
            returning c.id, c.tenant_id, c.app_id, c.verdict, c.reauthorize_by
          ), announced as (
            ${announceEvent({
              type: 'connection.reauthorize_soon',
              source: 'told t',
              // Whose customer is needed already was told so.
              condition: 't.verdict is null',
              data: `jsonb_build_object('reauthorize_by', t.reauthorize_by)`,
            })}
          )
          select id from told`,
        values: [limit],
      });
      return rows.length;
    },

    async lagSeconds() {
      const [row] = await queryStore<{ lag: number | null }>(store, {
        name: 'read-sweep-lag',
        text: `select extract(epoch from clock_timestamp() - min(first.refresh_due_at))::double precision as lag
          from apps a cross join lateral (
            select c.refresh_due_at from connections c where c.app_id = a.id and ${isDue}
            order by c.refresh_due_at limit 1
          ) first
          where not ${isAppPaused}`,
        values: [],
      });
      return Math.max(row?.lag ?? 0, 0);
    },
  };
}

function claimedFromRow(row: ClaimedRow): ClaimedConnection {
  return {
    connectionId: row.id,
    tenantId: row.tenant_id,
    appId: row.app_id,
    tokenVersion: Number(row.token_version),
    dueAt: row.due_at,
    isProbe: row.is_probe,
    isPutOff: row.is_put_off,
  };
}
