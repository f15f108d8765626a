import type {
  ConnectionStatus,
  FailureClass,
  ReauthorizationReason,
  WaitingReason,
} from '../client/contract.ts';
import { isAppPaused } from './app.ts';
import type { GateReason } from './app-gate.ts';

/** The rotation class of a provider (docs/reliability.md); oauth/rotation.ts says what it allows. */
export type RotationClass = 'S' | 'L' | 'T' | 'C' | 'X' | 'F';

/** What a refresh spends: the refresh token, the app's own credentials, or the access token itself. */
export type CredentialKind = 'refresh_token' | 'client' | 'access_token';

/** What its app and the app's token host stand in the way with. */
interface AppStanding {
  /** As stored: the pause is over once `pausedUntil` is. */
  pausedReason: string | null;
  pausedUntil: Date | null;
  /** The gate of the token host; open again once this is over. */
  closedUntil: Date | null;
  closedReason: GateReason | null;
}

export interface RecordedFailure {
  class: FailureClass;
  /** The OAuth error, `http_<status>`, or a network code. */
  code: string;
  at: Date;
  /** Failures in a row. */
  count: number;
}

/** One connection without its tokens: what status, freshness and the routes need. */
export interface Connection {
  id: string;
  tenantId: string;
  appId: string;
  provider: string;
  /** Grows with every write of credentials. */
  generation: number;
  /** Grows with every stored access token; 0 before the first. */
  tokenVersion: number;
  credential: CredentialKind;
  rotationClass: RotationClass;
  hasAccessToken: boolean;
  hasRefreshToken: boolean;
  hasDpopKey: boolean;
  tokenType: string;
  scope: string | null;
  /** Null: the access token does not expire, or there is none. */
  expiresAt: Date | null;
  /** The lifetime as issued, which the refresh margin is a share of. */
  lifetimeSeconds: number | null;
  /** The provider named no lifetime; the expiry policy chose this one. */
  expiryAssumed: boolean;
  refreshDueAt: Date | null;
  nextAttemptAt: Date | null;
  lastRefreshedAt: Date | null;
  failure: RecordedFailure | null;
  verdict: ReauthorizationReason | null;
  /** One exchange may be made in spite of the verdict, to see whether it still holds. */
  probeRequestedAt: Date | null;
  uncertainSince: Date | null;
  pausedAt: Date | null;
  deletedAt: Date | null;
  app: AppStanding;
  /** When the newest refreshes began that replaced a valid token; see forced-refreshes.ts. */
  forcedSends: Date[];
  variables: Record<string, string>;
  /** Facts of the provider's answer that callers need, such as `instance_url`. */
  metadata: Record<string, unknown>;
  createdAt: Date;
  updatedAt: Date;
  /** The database's `now()` when the row was read. */
  readAt: Date;
}

/** deleted > paused > verdict > uncertain > active; a lapsed token nobody can refresh needs the customer. */
export function connectionStatus(connection: Connection, now: Date): ConnectionStatus {
  if (connection.deletedAt !== null) return 'revoking';
  if (connection.pausedAt !== null) return 'paused';
  if (reauthorizationReason(connection, now) !== null) return 'reauthorization_required';
  if (connection.uncertainSince !== null) return 'uncertain';
  return 'active';
}

/** Why the customer must authorise again, or null. `no_refresh_token` is derived, the rest a verdict. */
export function reauthorizationReason(
  connection: Connection,
  now: Date,
): ReauthorizationReason | null {
  if (connection.verdict !== null) return connection.verdict;
  const expired = !holdsValidToken(connection, now);
  return expired && !isRefreshable(connection) ? 'no_refresh_token' : null;
}

export function isRefreshable(
  connection: Pick<Connection, 'credential' | 'hasAccessToken' | 'hasRefreshToken'>,
): boolean {
  switch (connection.credential) {
    case 'refresh_token':
      return connection.hasRefreshToken;
    case 'access_token':
      return connection.hasAccessToken;
    case 'client':
      return true;
  }
}

/** Whether somebody's resume has allowed an exchange that the verdict forbids. */
export function isProbeAllowed(connection: Connection): boolean {
  return (
    connection.verdict !== null && connection.probeRequestedAt !== null && isRefreshable(connection)
  );
}

/** There is an access token and it has not expired. */
export function holdsValidToken(
  connection: Pick<Connection, 'hasAccessToken' | 'expiresAt'>,
  now: Date,
): boolean {
  if (!connection.hasAccessToken) return false;
  // Times as numbers: dates that are compared are turned into them first, which a read from memory feels.
  return connection.expiresAt === null || connection.expiresAt.getTime() > now.getTime();
}

/** How long its access token is still valid; null: for ever; 0 or less: it is not. By the row's own time. */
export function validForMs({ hasAccessToken, expiresAt, readAt }: Connection): number | null {
  if (!hasAccessToken) return 0;
  return expiresAt === null ? null : expiresAt.getTime() - readAt.getTime();
}

/** What keeps every connection of its app, or of the app at this host, from being refreshed; or null. */
export function appWaitingReason({ app }: Connection, now: Date): GateReason | null {
  if (isAppPaused(app, now)) return 'app_misconfigured';
  return app.closedUntil !== null && app.closedUntil > now ? app.closedReason : null;
}

/**
 * When what keeps the connections of its app waiting ends by itself, in milliseconds since 1970; Infinity:
 * it does not, -Infinity: nothing keeps them.
 */
export function appWaitingEndsMs({ app }: Connection): number {
  const { pausedReason, pausedUntil, closedReason, closedUntil } = app;
  const pauseEndsMs = pausedReason === null ? -Infinity : (pausedUntil?.getTime() ?? Infinity);
  const gateOpensMs = closedReason === null ? -Infinity : (closedUntil?.getTime() ?? -Infinity);
  return Math.max(pauseEndsMs, gateOpensMs);
}

/** What an active or uncertain connection waits for, or null if its last attempt left nothing open. */
export function waitingReason(failure: RecordedFailure | null): WaitingReason | null {
  if (failure === null) return null;
  switch (failure.class) {
    case 'misconfigured':
      return failure.code === 'egress_refused' ? 'egress_refused' : 'app_misconfigured';
    case 'rate_limited':
      return 'rate_limited';
    case 'protocol_break':
      return 'provider_answer_unusable';
    case 'transient':
      return failure.code === 'key_service_unavailable'
        ? 'key_service_unavailable'
        : 'provider_unavailable';
    case 'ambiguous':
      return 'provider_unavailable';
    case 'permanent':
      return null;
  }
}
