import type { FailureClass, ReauthorizationReason } from '../client/contract.ts';
import type { GateReason } from './app-gate.ts';
import type { Connection, CredentialKind, RotationClass } from './connection.ts';

/** The gate is read from its index alone; an app without one has none closed. */
export const connectionTables = `connections c join apps a on a.id = c.app_id
  left join app_gates g on g.app_id = c.app_id and g.host = c.token_host`;

/**
 * What every SELECT of a connection fetches, from `connectionTables`: facts, never a token. One JSON text, for
 * some forty columns cost Node several times as much to describe and parse; in the order of `Facts`.
 */
export const connectionColumns = `json_build_array(
  c.id, c.tenant_id, c.app_id, a.provider, c.generation, c.token_version, c.credential, c.rotation_class,
  c.sealed_access_token is not null, c.sealed_refresh_token is not null, c.sealed_dpop_key is not null,
  c.token_type, c.scope, c.expires_at, c.lifetime_seconds, c.expiry_assumed, c.refresh_due_at,
  c.next_attempt_at, c.last_refreshed_at, c.failure_class, c.failure_code, c.failure_at, c.failure_count,
  c.verdict, c.probe_requested_at, c.uncertain_since, c.paused_at, c.deleted_at,
  a.paused_reason, a.paused_until, g.closed_until, g.closed_reason,
  c.forced_sends, c.variables, c.metadata, c.created_at, c.updated_at, clock_timestamp())::text as facts`;

export interface ConnectionRow {
  facts: string;
}

/** Instants are ISO 8601 with an offset. */
type Facts = [
  id: string,
  tenantId: string,
  appId: string,
  provider: string,
  generation: number,
  tokenVersion: number,
  credential: CredentialKind,
  rotationClass: RotationClass,
  hasAccessToken: boolean,
  hasRefreshToken: boolean,
  hasDpopKey: boolean,
  tokenType: string,
  scope: string | null,
  expiresAt: string | null,
  lifetimeSeconds: number | null,
  expiryAssumed: boolean,
  refreshDueAt: string | null,
  nextAttemptAt: string | null,
  lastRefreshedAt: string | null,
  failureClass: FailureClass | null,
  failureCode: string | null,
  failureAt: string | null,
  failureCount: number,
  verdict: ReauthorizationReason | null,
  probeRequestedAt: string | null,
  uncertainSince: string | null,
  pausedAt: string | null,
  deletedAt: string | null,
  appPausedReason: string | null,
  appPausedUntil: string | null,
  gateClosedUntil: string | null,
  gateClosedReason: GateReason | null,
  forcedSends: string[],
  variables: Record<string, string>,
  metadata: Record<string, unknown>,
  createdAt: string,
  updatedAt: string,
  readAt: string,
];

export function connectionFromRow({ facts }: ConnectionRow): Connection {
  const [
    id,
    tenantId,
    appId,
    provider,
    generation,
    tokenVersion,
    credential,
    rotationClass,
    hasAccessToken,
    hasRefreshToken,
    hasDpopKey,
    tokenType,
    scope,
    expiresAt,
    lifetimeSeconds,
    expiryAssumed,
    refreshDueAt,
    nextAttemptAt,
    lastRefreshedAt,
    failureClass,
    failureCode,
    failureAt,
    failureCount,
    verdict,
    probeRequestedAt,
    uncertainSince,
    pausedAt,
    deletedAt,
    appPausedReason,
    appPausedUntil,
    gateClosedUntil,
    gateClosedReason,
    forcedSends,
    variables,
    metadata,
    createdAt,
    updatedAt,
    readAt,
  ] = JSON.parse(facts) as Facts;
  return {
    id,
    tenantId,
    appId,
    provider,
    generation,
    tokenVersion,
    credential,
    rotationClass,
    hasAccessToken,
    hasRefreshToken,
    hasDpopKey,
    tokenType,
    scope,
    expiresAt: instant(expiresAt),
    lifetimeSeconds,
    expiryAssumed,
    refreshDueAt: instant(refreshDueAt),
    nextAttemptAt: instant(nextAttemptAt),
    lastRefreshedAt: instant(lastRefreshedAt),
    failure:
      failureClass === null || failureCode === null || failureAt === null
        ? null
        : { class: failureClass, code: failureCode, at: new Date(failureAt), count: failureCount },
    verdict,
    probeRequestedAt: instant(probeRequestedAt),
    uncertainSince: instant(uncertainSince),
    pausedAt: instant(pausedAt),
    deletedAt: instant(deletedAt),
    app: {
      pausedReason: appPausedReason,
      pausedUntil: instant(appPausedUntil),
      closedUntil: instant(gateClosedUntil),
      closedReason: gateClosedReason,
    },
    forcedSends: forcedSends.map((sentAt) => new Date(sentAt)),
    variables,
    metadata,
    createdAt: new Date(createdAt),
    updatedAt: new Date(updatedAt),
    readAt: new Date(readAt),
  };
}

function instant(text: string | null): Date | null {
  return text === null ? null : new Date(text);
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
