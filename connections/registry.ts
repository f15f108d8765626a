import type {
  ConnectionStatus,
  FailureClass,
  RefreshOutcome,
  RefreshTrigger,
} from '../client/contract.ts';
import type { Secret } from '../platform/secret.ts';
import type { App, AppInput } from './app.ts';
import type { Connection } from './connection.ts';

/** Body of `PUT /v1/connections/{id}`; absent members keep what is stored. */
export interface ConnectionInput {
  tenantId: string;
  appId: string;
  accessToken?: Secret;
  refreshToken?: Secret;
  /** For proofs of possession: PKCS#8 PEM, or the JSON of a JWK; RSA or P-256. */
  dpopKey?: Secret;
  /** At most one of the two. */
  expiresInSeconds?: number;
  expiresAt?: Date;
  scope?: string;
  variables?: Record<string, string>;
  metadata?: Record<string, unknown>;
}

export interface ImportResult {
  connection: Connection;
  /** 201 rather than 200. */
  created: boolean;
  /** `kept_newer`: the refresh token is one that this connection held before; nothing changed. */
  credentials: 'stored' | 'kept' | 'kept_newer';
}

export interface Page<Item> {
  items: Item[];
  nextCursor: string | null;
}

/** The tenants of which a caller may see connections; null: all of them. */
export type VisibleTenants = ReadonlySet<string> | null;

export interface ConnectionFilter {
  /** What other tenants hold is as if it were not there, for pages and cursors too. */
  visibleTo: VisibleTenants;
  tenantId?: string;
  appId?: string;
  status?: ConnectionStatus;
  /** Default 50, at most 500. */
  limit: number;
  /** As `nextCursor` gave it; anything else throws `input_validation`. */
  cursor?: string;
}

/** A connection and its access token, still sealed: `open` costs a decipher, so only answers pay it. */
export interface TokenReading {
  connection: Connection;
  /** Throws `internal` when the value does not open for this row, `key_service_unavailable`. */
  open(): Promise<Secret>;
}

/** How one attempt to refresh ended; of each connection the newest 50 are kept. */
export interface LoggedAttempt {
  id: string;
  at: Date;
  outcome: RefreshOutcome;
  /** Null, like the code, where the attempt brought tokens. */
  class: FailureClass | null;
  code: string | null;
  durationMs: number;
  trigger: RefreshTrigger;
  /** The Workflow run that made the attempt. */
  runId: string;
}

/** `done`: nothing of the connection can be used any more, at the provider either as far as it can be told. */
export type DisconnectState = 'revoking' | 'done';

/** What the gateway asks of connections and their tokens. All may throw `store_unavailable`. */
export interface ConnectionRegistry {
  /**
   * By a SELECT that begins after the call, for all who ask in one turn of the event loop together, and that
   * never fetches refresh-token columns. Undefined: no such connection, or deleted. Of
   * whatever tenant, for callers share it: who may see the connection is for the caller to judge.
   */
  readToken(connectionId: string): Promise<TokenReading | undefined>;
  /** Undefined: no such connection, its deletion is done, or of a tenant that is not visible. */
  get(connectionId: string, visibleTo: VisibleTenants): Promise<Connection | undefined>;
  list(filter: ConnectionFilter): Promise<Page<Connection>>;
  /** The newest first. Undefined as for `get`. A bad cursor: `input_validation`. */
  attempts(
    connectionId: string,
    page: { limit: number; cursor?: string; visibleTo: VisibleTenants },
  ): Promise<Page<LoggedAttempt> | undefined>;
  /**
   * Imports or re-authorises, idempotent by the refresh token's fingerprint. That another tenant holds
   * the id is told only where a connection would have been made otherwise. Throws `app_not_found`,
   * `input_validation`, `connection_id_taken`, `credential_in_use`, `connection_revoking`; without a
   * refresh token, `refresh_in_progress` or `refresh_uncertain` while the stored one is being spent.
   */
  put(connectionId: string, input: ConnectionInput): Promise<ImportResult>;
  /**
   * Nothing is sent for a paused connection; what is in flight ends and is stored. Undefined as for `get`.
   * Throws `connection_revoking`.
   */
  pause(connectionId: string, visibleTo: VisibleTenants): Promise<Connection | undefined>;
  /**
   * Ends a pause, and allows one exchange in spite of a verdict: then `probeRequestedAt` is set. Undefined
   * and throws as `pause`.
   */
  resume(connectionId: string, visibleTo: VisibleTenants): Promise<Connection | undefined>;
  /**
   * The tokens can be read no more; what is to be revoked is stored with that, for whoever carries it
   * on. Idempotent. Undefined: no such connection, or not visible.
   */
  disconnect(connectionId: string, visibleTo: VisibleTenants): Promise<DisconnectState | undefined>;
}

/** What the gateway asks of apps. All may throw `store_unavailable`. */
export interface AppRegistry {
  /** Undefined: no such app, or one for tenants only of which none is visible. */
  get(appId: string, visibleTo: VisibleTenants): Promise<App | undefined>;
  list(filter: { limit: number; cursor?: string; visibleTo: VisibleTenants }): Promise<Page<App>>;
  /** Throws `provider_not_found`, `input_validation`. */
  put(appId: string, input: AppInput): Promise<{ app: App; created: boolean }>;
  /**
   * Ends a pause, forgets what the gates of the app hold against it, and lets its connections that wait
   * for a correct registration go, spread over time. Idempotent; a PUT of other credentials does it too.
   * Throws `app_not_found`.
   */
  resume(appId: string): Promise<App>;
  /** Throws `app_not_found`, `app_in_use`. */
  delete(appId: string): Promise<void>;
}
