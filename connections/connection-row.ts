import type { FailureClass, ReauthorizationReason } from '../client/contract.ts';
import type { GateReason } from './app-gate.ts';
import type { Connection, CredentialKind, RotationClass } from './connection.ts';

/** The gate is read from its index alone; an app without one has none closed. */
export const connectionTables = `connections c join apps a on a.id = c.app_id
  left join app_gates g on g.app_id = c.app_id and g.host = c.token_host`;

/** What every SELECT of a connection fetches, from `connectionTables`: facts, never a token. */
export const connectionColumns = `
  c.id, c.tenant_id, c.app_id, a.provider, c.generation, c.token_version, c.credential, c.rotation_class,
  c.sealed_access_token is not null as has_access_token,
  c.sealed_refresh_token is not null as has_refresh_token,
  c.sealed_dpop_key is not null as has_dpop_key,
  c.token_type, c.scope, c.expires_at, c.lifetime_seconds, c.expiry_assumed, c.refresh_due_at,
  c.next_attempt_at, c.last_refreshed_at, c.failure_class, c.failure_code, c.failure_at, c.failure_count,
  c.verdict, c.probe_requested_at, c.uncertain_since, c.paused_at, c.deleted_at, c.variables, c.metadata, c.created_at,
  c.updated_at, c.forced_sends, a.paused_reason as app_paused_reason, a.paused_until as app_paused_until,
  g.closed_until as gate_closed_until, g.closed_reason as gate_closed_reason, clock_timestamp() as read_at`;

export interface ConnectionRow {
  id: string;
  tenant_id: string;
  app_id: string;
  provider: string;
  /** bigint: `pg` gives these as strings. */
  generation: string;
  token_version: string;
  credential: CredentialKind;
  rotation_class: RotationClass;
  has_access_token: boolean;
  has_refresh_token: boolean;
  has_dpop_key: boolean;
  token_type: string;
  scope: string | null;
  expires_at: Date | null;
  lifetime_seconds: number | null;
  expiry_assumed: boolean;
  refresh_due_at: Date | null;
  next_attempt_at: Date | null;
  last_refreshed_at: Date | null;
  failure_class: FailureClass | null;
  failure_code: string | null;
  failure_at: Date | null;
  failure_count: number;
  verdict: ReauthorizationReason | null;
  probe_requested_at: Date | null;
  uncertain_since: Date | null;
  paused_at: Date | null;
  deleted_at: Date | null;
  forced_sends: Date[];
  app_paused_reason: string | null;
  app_paused_until: Date | null;
  gate_closed_until: Date | null;
  gate_closed_reason: GateReason | null;
  variables: Record<string, string>;
  metadata: Record<string, unknown>;
  created_at: Date;
  updated_at: Date;
  read_at: Date;
}

export function connectionFromRow(row: ConnectionRow): Connection {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    appId: row.app_id,
    provider: row.provider,
    generation: Number(row.generation),
    tokenVersion: Number(row.token_version),
    credential: row.credential,
    rotationClass: row.rotation_class,
    hasAccessToken: row.has_access_token,
    hasRefreshToken: row.has_refresh_token,
    hasDpopKey: row.has_dpop_key,
    tokenType: row.token_type,
    scope: row.scope,
    expiresAt: row.expires_at,
    lifetimeSeconds: row.lifetime_seconds,
    expiryAssumed: row.expiry_assumed,
    refreshDueAt: row.refresh_due_at,
    nextAttemptAt: row.next_attempt_at,
    lastRefreshedAt: row.last_refreshed_at,
    failure:
      row.failure_class === null || row.failure_code === null || row.failure_at === null
        ? null
        : {
            class: row.failure_class,
            code: row.failure_code,
            at: row.failure_at,
            count: row.failure_count,
          },
    verdict: row.verdict,
    probeRequestedAt: row.probe_requested_at,
    uncertainSince: row.uncertain_since,
    pausedAt: row.paused_at,
    deletedAt: row.deleted_at,
    app: {
      pausedReason: row.app_paused_reason,
      pausedUntil: row.app_paused_until,
      closedUntil: row.gate_closed_until,
      closedReason: row.gate_closed_reason,
    },
    forcedSends: row.forced_sends,
    variables: row.variables,
    metadata: row.metadata,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    readAt: row.read_at,
  };
}

/** `connectionStatus` in SQL, for the list's filter; a test holds the two against each other. */
export const statusExpression = `case
  when c.deleted_at is not null then 'revoking'
  when c.paused_at is not null then 'paused'
  when c.verdict is not null then 'reauthorization_required'
  when (c.sealed_access_token is null or c.expires_at <= clock_timestamp())
    and not (case c.credential
      when 'refresh_token' then c.sealed_refresh_token is not null
      when 'access_token' then c.sealed_access_token is not null
      else true end) then 'reauthorization_required'
  when c.uncertain_since is not null then 'uncertain'
  else 'active' end`;
