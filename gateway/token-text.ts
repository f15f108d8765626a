import { inspect } from 'node:util';
import { connectionStatus, type Connection } from '../connections/connection.ts';
import { Secret } from '../platform/secret.ts';

const redacted = '[redacted]';
const notRefreshed = 'false';

/**
 * The answer of a token as text, written once for all who read it: only the seconds that are left, and
 * whether somebody's call has refreshed it, differ from one read to the next. Holds the token, and
 * prints as a Secret does.
 */
export class TokenText {
  /** JSON up to the seconds. */
  readonly #head: string;
  /** JSON after them. */
  readonly #tail: string;
  /** Where in the tail it says whether it was refreshed. */
  readonly #refreshedAt: number;
  readonly #expiresAtMs: number | null;
  /** Of head and tail together, in UTF-8. */
  readonly #bytes: number;

  constructor(answer: {
    connection: Connection;
    accessToken: Secret;
    /** The status of a connection whose token is valid does not change by time alone. */
    now: Date;
  }) {
    const { connection, accessToken, now } = answer;
    const { expiresAt } = connection;
    const head = {
      connection_id: connection.id,
      access_token: accessToken.reveal(),
      token_type: connection.tokenType,
      expires_at: expiresAt?.toISOString() ?? null,
      expires_in: 0,
    };
    const tail = { scope: connection.scope, token_version: connection.tokenVersion };
    const end = {
      connection_status: connectionStatus(connection, now),
      metadata: connection.metadata,
    };
    this.#head = JSON.stringify(head).slice(0, -'0}'.length);
    const tailStart = `,${JSON.stringify(tail).slice(1, -1)},"refreshed":`;
    this.#tail = `${tailStart}${notRefreshed},${JSON.stringify(end).slice(1)}`;
    this.#refreshedAt = tailStart.length;
    this.#expiresAtMs = expiresAt?.getTime() ?? null;
    this.#bytes = Buffer.byteLength(this.#head) + Buffer.byteLength(this.#tail);
  }

  /** The whole body, JSON. Hand it on at once and keep no copy. */
  at(now: Date, refreshed: boolean): string {
    const expiresAtMs = this.#expiresAtMs;
    const secondsLeft =
      expiresAtMs === null
        ? 'null'
        : Math.max(0, Math.floor((expiresAtMs - now.getTime()) / 1_000));
    return `${this.#head}${secondsLeft}${refreshed ? this.#refreshedTail() : this.#tail}`;
  }

  /** Of a body that it gave, in UTF-8: what differs from one to the next is ASCII. */
  bytesOf(body: string): number {
    return this.#bytes + body.length - this.length();
  }

  /** As it was given. */
  accessToken(): Secret {
    const { access_token: token } = JSON.parse(`${this.#head}0}`) as { access_token: string };
    return new Secret(token);
  }

  /** In UTF-16 code units. */
  length(): number {
    return this.#head.length + this.#tail.length;
  }

  #refreshedTail(): string {
    const endAt = this.#refreshedAt + notRefreshed.length;
    return `${this.#tail.slice(0, this.#refreshedAt)}true${this.#tail.slice(endAt)}`;
  }

  toJSON(): string {
    return redacted;
  }

  [inspect.custom](): string {
    return redacted;
  }
}
