import { inspect } from 'node:util';
import { connectionStatus, type Connection } from '../connections/connection.ts';
import type { Secret } from '../platform/secret.ts';

const redacted = '[redacted]';

/**
 * The answer of a token as text, written once: only the seconds that are left change from one read to
 * the next. Holds the token, and prints as a Secret does.
 */
export class TokenText {
  readonly #head: string;
  readonly #tail: string;
  readonly #expiresAtMs: number | null;

  constructor(answer: {
    connection: Connection;
    accessToken: Secret;
    refreshed: boolean;
    /** The status of a connection whose token is valid does not change by time alone. */
    now: Date;
  }) {
    const { connection, accessToken, refreshed, now } = answer;
    const { expiresAt } = connection;
    const before = {
      connection_id: connection.id,
      access_token: accessToken.reveal(),
      token_type: connection.tokenType,
      expires_at: expiresAt?.toISOString() ?? null,
    };
    const after = {
      scope: connection.scope,
      token_version: connection.tokenVersion,
      refreshed,
      connection_status: connectionStatus(connection, now),
      metadata: connection.metadata,
    };
    this.#head = `${JSON.stringify(before).slice(0, -1)},"expires_in":`;
    this.#tail = `,${JSON.stringify(after).slice(1)}`;
    this.#expiresAtMs = expiresAt?.getTime() ?? null;
  }

  /** The whole body, JSON. Hand it on at once and keep no copy. */
  at(now: Date): string {
    const expiresAtMs = this.#expiresAtMs;
    const secondsLeft =
      expiresAtMs === null
        ? 'null'
        : Math.max(0, Math.floor((expiresAtMs - now.getTime()) / 1_000));
    return `${this.#head}${secondsLeft}${this.#tail}`;
  }

  toJSON(): string {
    return redacted;
  }

  [inspect.custom](): string {
    return redacted;
  }
}
