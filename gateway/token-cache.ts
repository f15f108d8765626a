import { LRUCache } from 'lru-cache';
import { TokenManagerError } from '../client/contract.ts';
import { holdsValidToken, type Connection } from '../connections/connection.ts';
import { refreshBehindFromMs, type JudgedToken } from '../connections/freshness.ts';
import type { ConnectionRegistry, TokenReading } from '../connections/registry.ts';
import type { TokenNotices } from '../connections/token-notices.ts';
import type { Clock, DatabaseClock } from '../platform/clock.ts';
import type { Secret } from '../platform/secret.ts';
import type { StoreOutage } from './store-outage.ts';
import { TokenText } from './token-text.ts';

export const cachedTokensMax = 100_000;
/** Room for that many of the usual size; long tokens or much metadata leave room for fewer. */
const cachedBytesMax = 512 * 1_024 * 1_024;
/** At most: a text of Latin letters takes half of it. */
const bytesPerCharacter = 2;

/** An entry that is asked for in the last part of its time is read anew behind the answer. */
const renewedShare = 0.8;

/** After it has ended to answer by itself, an entry is kept so much longer for an outage of PostgreSQL. */
const staleServiceMs = 300_000;
const sweepEveryMs = 10_000;

/** A row as one SELECT found it. */
export interface StoredToken {
  connection: Connection;
  /** How its token is answered: opened once for all who share the SELECT. Throws as TokenReading.open. */
  text(): Promise<TokenText>;
}

/** What is kept of a connection: how its token is answered, and what a read is judged by. */
export interface HeldToken extends JudgedToken {
  tenantId: string;
  provider: string;
  /** Milliseconds since 1970; Infinity: never, as far as the row tells. */
  refreshBehindFromMs: number;
  text: TokenText;
  /** When its SELECT began, by the monotonic clock. */
  readAtMs: number;
  /** The session of LISTEN at that time. */
  session: number | undefined;
}

export interface TokenCache {
  /**
   * A token that may be answered without a SELECT: read less than TOKEN_CACHE_SECONDS ago, and since
   * then LISTEN has been up without a notice for it. The token may have expired in the meantime.
   *
   * Only new tokens are told by notice: the rest, so the `connection_status`, the `scope` and the
   * `metadata` of an answer, may trail the row by TOKEN_CACHE_SECONDS. Before that time is over, who asks
   * has the row read anew for those to come, so that of a connection in use nobody waits for a SELECT.
   */
  find(connectionId: string): HeldToken | undefined;
  /** What to fall back on once `read` has thrown `store_unavailable`: as `find`, but up to 300 s older. */
  findStale(connectionId: string): HeldToken | undefined;
  /**
   * The row, by a SELECT that begins after the call. One that is under way already will do if what it
   * finds satisfies `suffices` and no notice came in between. A row that `mayOpen` refuses is not opened
   * and not kept: for whoever asks it is not there. At most one SELECT a connection is under
   * way: those who cannot use it share the next. Throws as ConnectionRegistry.readToken; all who wait
   * for a SELECT share its failure.
   */
  read(
    connectionId: string,
    suffices?: (connection: Connection) => boolean,
    mayOpen?: (connection: Connection) => boolean,
  ): Promise<StoredToken | undefined>;
  /** The token has changed: whatever was read before is forgotten, and what is being read is not kept. */
  drop(connectionId: string): void;
}

interface Select {
  number: number;
  readAtMs: number;
  session: number | undefined;
  /** A notice came after it began, so it may have seen the row as it was before. */
  isOvertaken: boolean;
}

/**
 * Tokens in memory, bounded in number and size. Entries leave in the order in which they were read:
 * each answers for seconds only, so that one much asked for is soon among the newest again, and a hit
 * moves nothing.
 */
export function createTokenCache(dependencies: {
  connections: Pick<ConnectionRegistry, 'readToken'>;
  /** Absent: there is no LISTEN. */
  notices: TokenNotices | undefined;
  outage: StoreOutage;
  clock: Clock;
  databaseClock: DatabaseClock;
  /** 0: nothing is kept. */
  cacheSeconds: number;
  entriesMax?: number;
}): TokenCache {
  const { connections, notices, outage, clock, databaseClock, cacheSeconds } = dependencies;
  const cacheMs = cacheSeconds * 1_000;
  const renewMs = renewedShare * cacheMs;
  const keepMs = cacheMs + staleServiceMs;
  const entries = new LRUCache<string, HeldToken>({
    max: dependencies.entriesMax ?? cachedTokensMax,
    maxSize: cachedBytesMax,
  });
  const selects = new Map<string, { select: Select; reading: Promise<StoredToken | undefined> }>();
  let selectsBegun = 0;
  let sweep: NodeJS.Timeout | undefined;

  function begin(connectionId: string, mayOpen: (connection: Connection) => boolean) {
    selectsBegun += 1;
    const select: Select = {
      number: selectsBegun,
      readAtMs: clock.monotonicMs(),
      session: notices?.session(),
      isOvertaken: false,
    };
    const reading = load(connectionId, select, mayOpen).finally(() => {
      if (selects.get(connectionId) === begun) selects.delete(connectionId);
    });
    const begun = { select, reading };
    selects.set(connectionId, begun);
    return begun;
  }

  async function load(
    connectionId: string,
    select: Select,
    mayOpen: (connection: Connection) => boolean,
  ): Promise<StoredToken | undefined> {
    const reading = await outage.guard(() => connections.readToken(connectionId));
    if (reading === undefined) {
      entries.delete(connectionId);
      return undefined;
    }
    const { connection } = reading;
    let opened: Promise<TokenText> | undefined;
    const text = () => (opened ??= openText(reading, entries.peek(connectionId)));
    if (cacheSeconds === 0 || !mayOpen(connection)) return { connection, text };
    try {
      if (!holdsValidToken(connection, databaseClock.now())) entries.delete(connectionId);
      else keep(connection, await text(), select);
    } catch {
      // Nothing is kept, and whoever opens the token sees why.
      entries.delete(connectionId);
    }
    return { connection, text };
  }

  async function openText(reading: TokenReading, held?: HeldToken): Promise<TokenText> {
    const { connection } = reading;
    const accessToken = await openUnlessKeyAway(reading, held);
    return new TokenText({ connection, accessToken, now: databaseClock.now() });
  }

  function keep(connection: Connection, text: TokenText, select: Select): void {
    if (select.isOvertaken) return;
    const held: HeldToken = {
      tenantId: connection.tenantId,
      provider: connection.provider,
      tokenVersion: connection.tokenVersion,
      hasAccessToken: connection.hasAccessToken,
      expiresAt: connection.expiresAt,
      lifetimeSeconds: connection.lifetimeSeconds,
      refreshBehindFromMs: refreshBehindFromMs(connection),
      text,
      readAtMs: select.readAtMs,
      session: select.session,
    };
    entries.set(connection.id, held, { size: bytesPerCharacter * text.length() });
    sweep ??= setTimeout(forgetOld, sweepEveryMs).unref();
  }

  /** For those who may see what is held: a row that is another tenant's by now is not opened. */
  function renew(connectionId: string, { tenantId }: HeldToken): void {
    if (selects.has(connectionId)) return;
    const { reading } = begin(connectionId, (connection) => connection.tenantId === tenantId);
    // Whoever finds the entry gone reads for himself, and hears of it then.
    reading.catch(() => undefined);
  }

  /** Opened tokens do not wait in memory for somebody to ask. */
  function forgetOld(): void {
    const oldestMs = clock.monotonicMs() - keepMs;
    for (const connectionId of entries.rkeys()) {
      const entry = entries.peek(connectionId);
      if (entry === undefined || entry.readAtMs > oldestMs) break;
      entries.delete(connectionId);
    }
    sweep = entries.size === 0 ? undefined : setTimeout(forgetOld, sweepEveryMs).unref();
  }

  function drop(connectionId: string): void {
    entries.delete(connectionId);
    const begun = selects.get(connectionId);
    if (begun === undefined) return;
    begun.select.isOvertaken = true;
    selects.delete(connectionId);
  }
  notices?.subscribe(drop);

  return {
    find(connectionId) {
      const entry = entries.peek(connectionId);
      if (entry === undefined) return undefined;
      const session = notices?.session();
      if (session === undefined || entry.session !== session) return undefined;
      const ageMs = clock.monotonicMs() - entry.readAtMs;
      if (ageMs >= cacheMs) return undefined;
      if (ageMs >= renewMs) renew(connectionId, entry);
      return entry;
    },
    findStale(connectionId) {
      const entry = entries.peek(connectionId);
      if (entry === undefined) return undefined;
      return clock.monotonicMs() - entry.readAtMs < keepMs ? entry : undefined;
    },
    async read(connectionId, suffices, mayOpen = () => true) {
      const begunBefore = selectsBegun;
      for (;;) {
        const running = selects.get(connectionId);
        if (running !== undefined) outage.refuseIfAway();
        const { select, reading } = running ?? begin(connectionId, mayOpen);
        const row = await reading;
        if (select.number > begunBefore) return row;
        const isUsable = cacheSeconds > 0 && !select.isOvertaken;
        if (isUsable && row !== undefined && suffices?.(row.connection) === true) return row;
      }
    },
    drop,
  };
}

/** Sealed anew under a key that cannot be had just now, the token that is in memory is still the same. */
async function openUnlessKeyAway(reading: TokenReading, held?: HeldToken): Promise<Secret> {
  try {
    return await reading.open();
  } catch (error) {
    const isAway = error instanceof TokenManagerError && error.code === 'key_service_unavailable';
    const isSame = held?.tokenVersion === reading.connection.tokenVersion;
    if (!isAway || held === undefined || !isSame) throw error;
    return held.text.accessToken();
  }
}
