import { inspect } from 'node:util';
import { createClientError, parseObject } from './client-errors.ts';
import type { ConnectionStatus } from './contract.ts';

const redacted = '[redacted]';

interface AccessTokenMembers {
  connectionId: string;
  accessToken: string;
  tokenType: string;
  tokenVersion: number;
  expiresAt: Date | null;
  scope: string | null;
  refreshed: boolean;
  connectionStatus: ConnectionStatus;
  metadata: Readonly<Record<string, unknown>>;
  /** Monotonic; Infinity for a token that does not expire. */
  expiresAtMs: number;
  nowMs: () => number;
}

/**
 * An access token. In logs, JSON, templates and `util.inspect` the token itself is `[redacted]`; it is
 * read by `accessToken` or `authorization`, and is in no copy made by spreading or cloning.
 */
export class AccessToken {
  readonly connectionId: string;
  /** Grows by one with each token that the service stores. Tell it in `refresh` after a 401. */
  readonly tokenVersion: number;
  /** As the provider named it; nearly always `Bearer`. */
  readonly tokenType: string;
  /** By the service's clock, for people: decide by `ttlSeconds()`. Null: does not expire. */
  readonly expiresAt: Date | null;
  /** Space-separated; null where nobody knows. */
  readonly scope: string | null;
  /** Whether the call that brought this token from the service refreshed it. */
  readonly refreshed: boolean;
  /** As of that call. Other than `active`: this may be the last token for a while. */
  readonly connectionStatus: ConnectionStatus;
  /** What was stored with the connection, such as `instance_url`. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly #accessToken: string;
  readonly #expiresAtMs: number;
  readonly #nowMs: () => number;

  constructor(members: AccessTokenMembers) {
    this.connectionId = members.connectionId;
    this.tokenVersion = members.tokenVersion;
    this.tokenType = members.tokenType;
    this.expiresAt = members.expiresAt;
    this.scope = members.scope;
    this.refreshed = members.refreshed;
    this.connectionStatus = members.connectionStatus;
    this.metadata = members.metadata;
    this.#accessToken = members.accessToken;
    this.#expiresAtMs = members.expiresAtMs;
    this.#nowMs = members.nowMs;
  }

  /** The token itself. Hand it on at once and keep no copy. */
  get accessToken(): string {
    return this.#accessToken;
  }

  /** Value of the Authorization header. RFC 6750 writes `Bearer` so, and some servers insist. */
  get authorization(): string {
    const type = this.tokenType.toLowerCase() === 'bearer' ? 'Bearer' : this.tokenType;
    return `${type} ${this.#accessToken}`;
  }

  /** Seconds left, counted by the monotonic clock since the token was asked for; Infinity: does not expire. */
  ttlSeconds(): number {
    return Math.max((this.#expiresAtMs - this.#nowMs()) / 1_000, 0);
  }

  toString(): string {
    return redacted;
  }

  toJSON(): Record<string, unknown> {
    return Object.fromEntries([...Object.entries(this), ['accessToken', redacted]]);
  }

  [inspect.custom](): Record<string, unknown> {
    return this.toJSON();
  }
}

/**
 * Reads the body of a 200. `sentAtMs` is when it was asked for, by `nowMs`: counted from there a token
 * never looks younger than it is. Throws `answer_unusable`.
 */
export function parseAccessToken(
  text: string,
  {
    connectionId,
    sentAtMs,
    nowMs,
  }: { connectionId: string; sentAtMs: number; nowMs: () => number },
): AccessToken {
  const body = parseObject(text);
  const { access_token: accessToken, token_type: tokenType, token_version: tokenVersion } = body;
  const expiresIn = body['expires_in'];
  const isUsable =
    typeof accessToken === 'string' &&
    accessToken !== '' &&
    typeof tokenVersion === 'number' &&
    (expiresIn === null || typeof expiresIn === 'number') &&
    body['connection_id'] === connectionId;
  if (!isUsable) {
    throw createClientError({
      code: 'answer_unusable',
      message: 'The answer is 200 but holds no token of this connection. Is baseUrl the service?',
      connectionId,
    });
  }
  const { expires_at: expiresAt, scope, metadata, refreshed, connection_status: status } = body;
  return new AccessToken({
    connectionId,
    accessToken,
    tokenVersion,
    tokenType: typeof tokenType === 'string' ? tokenType : 'Bearer',
    expiresAt: typeof expiresAt === 'string' ? new Date(expiresAt) : null,
    scope: typeof scope === 'string' ? scope : null,
    refreshed: refreshed === true,
    connectionStatus: (status ?? 'active') as ConnectionStatus,
    metadata: (metadata ?? {}) as Record<string, unknown>,
    expiresAtMs: expiresIn === null ? Infinity : sentAtMs + expiresIn * 1_000,
    nowMs,
  });
}
