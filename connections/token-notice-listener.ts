import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../platform/log.ts';
import type { Secret } from '../platform/secret.ts';
import { tokenNoticeChannel, type TokenNotices } from './token-notices.ts';

const connectTimeoutMs = 2_000;
/** A connection that is dead without a word is noticed this long after at most, in two steps. */
const heartbeatMs = 2_000;
const queryTimeoutMs = 2_000;
const retryMinMs = 250;
const retryMaxMs = 5_000;
const farewellMs = 500;

export interface TokenNoticeListener extends TokenNotices {
  close(): Promise<void>;
}

/**
 * Listens on a connection of its own, and connects again with a growing delay, 0.25 to 5 s, for as long
 * as it takes. Whether it listens is `session()`; the log tells once when it stops and once when it is
 * back.
 */
export function listenForTokenNotices(options: {
  /** A session of its own, not a transaction pooler's, which takes LISTEN and delivers nothing. */
  url: Secret;
  applicationName: string;
  log: Pick<Logger, 'info' | 'warn'>;
  /** A random number in [0, 1). */
  random: () => number;
}): TokenNoticeListener {
  const { log, random } = options;
  const hearers = new Set<(connectionId: string) => void>();
  const closing = new AbortController();
  let sessions = 0;
  let session: number | undefined;
  let failures = 0;
  let isMissed = false;
  const isClosing = () => closing.signal.aborted;

  async function keepListening(): Promise<void> {
    while (!isClosing()) {
      const cause = await listenUntilLost();
      if (isClosing()) return;
      if (!isMissed) log.warn({ err: cause }, 'token changes are not heard: LISTEN is down');
      isMissed = true;
      const delayMs = Math.min(retryMinMs * 2 ** failures, retryMaxMs) * (0.5 + random() / 2);
      failures += 1;
      await sleep(delayMs, undefined, { signal: closing.signal }).catch(() => undefined);
    }
  }

  /** One connection from beginning to end; resolves with what ended it. */
  async function listenUntilLost(): Promise<unknown> {
    // Only a socket of ours can be cut when the other side has gone without a word.
    const socket = new Socket();
    const client = new pg.Client({
      connectionString: options.url.reveal(),
      application_name: options.applicationName,
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: queryTimeoutMs,
      keepAlive: true,
      stream: () => socket,
    });
    const lost = new AbortController();
    const lose = (cause: unknown) => {
      session = undefined;
      lost.abort(cause);
    };
    const farewell = () => {
      if (session === undefined) socket.destroy();
      lose(new Error('the listener is closed'));
    };
    closing.signal.addEventListener('abort', farewell);
    client.on('error', lose);
    client.on('end', () => lose(new Error('the connection has ended')));
    client.on('notification', ({ payload }) => {
      if (payload !== undefined) for (const hear of hearers) hear(payload);
    });
    try {
      await client.connect();
      await client.query(`listen ${tokenNoticeChannel}`);
      lost.signal.throwIfAborted();
      begin();
      for (;;) {
        await sleep(heartbeatMs, undefined, { signal: lost.signal });
        await client.query('select 1');
      }
    } catch (error) {
      lose(error);
      // An aborted sleep tells only that it was; what ended the connection is the signal's reason.
      return lost.signal.reason;
    } finally {
      closing.signal.removeEventListener('abort', farewell);
      if (isClosing() && !socket.destroyed) {
        await Promise.race([client.end(), sleep(farewellMs, undefined, { ref: false })]);
      }
      socket.destroy();
    }
  }

  /** From here on no change goes unheard; rows read before are of no session. */
  function begin(): void {
    sessions += 1;
    session = sessions;
    failures = 0;
    if (isMissed) log.info('token changes are heard again: LISTEN is back');
    isMissed = false;
  }

  const ended = keepListening();
  return {
    session: () => session,
    subscribe(hear) {
      hearers.add(hear);
      return () => hearers.delete(hear);
    },
    async close() {
      closing.abort();
      await ended;
    },
  };
}
