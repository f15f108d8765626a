import type { AccessToken } from './access-token.ts';

interface Entry {
  newestVersion: number;
  /** Absent where the newest was refused, or has expired. */
  token?: AccessToken;
  freshUntilMs: number;
  /** A `minTtlSeconds` that the service met with less, because the provider's lifetimes are shorter. */
  loweredMinTtlSeconds: number;
}

const sweepEveryMs = 60_000;

/**
 * The tokens that this process holds. Each is handed out without a question for a short while after it
 * came, and kept until it expires for times when the service cannot be asked. The longest unused go
 * first when there are too many. What is handed out never goes back to an older version.
 */
export class TokenWindow {
  readonly #entries = new Map<string, Entry>();
  readonly #maxEntries: number;
  readonly #freshMs: number;
  readonly #nowMs: () => number;
  readonly #random: () => number;
  #sweptAtMs: number;

  constructor(options: {
    maxEntries: number;
    /** 0: nothing is held, only the versions that were handed out. */
    freshMs: number;
    nowMs: () => number;
    random: () => number;
  }) {
    this.#maxEntries = options.maxEntries;
    this.#freshMs = options.freshMs;
    this.#nowMs = options.nowMs;
    this.#random = options.random;
    this.#sweptAtMs = options.nowMs();
  }

  /** A token that may be handed out without asking. */
  fresh(connectionId: string, minTtlSeconds: number): AccessToken | undefined {
    const entry = this.#touch(connectionId);
    if (entry?.token === undefined || entry.freshUntilMs <= this.#nowMs()) return undefined;
    const isLong = isValid(entry.token, minTtlSeconds);
    const isAsLongAsCanBe = minTtlSeconds <= entry.loweredMinTtlSeconds && isValid(entry.token, 0);
    return isLong || isAsLongAsCanBe ? entry.token : undefined;
  }

  /** A token for when the service cannot be asked. */
  held(connectionId: string, minTtlSeconds: number): AccessToken | undefined {
    const token = this.#touch(connectionId)?.token;
    return token !== undefined && isValid(token, minTtlSeconds) ? token : undefined;
  }

  /** The newest version that was handed out; undefined if none is known. */
  newestVersion(connectionId: string): number | undefined {
    return this.#entries.get(connectionId)?.newestVersion;
  }

  /**
   * Takes a token of the service in, and answers the one to hand out: this one, or a newer one that came
   * meanwhile. Undefined: this one is older than what was handed out, and the newer one is gone.
   */
  keep(token: AccessToken, minTtlSeconds: number): AccessToken | undefined {
    const { connectionId, tokenVersion } = token;
    const known = this.#entries.get(connectionId);
    if (known !== undefined && known.newestVersion > tokenVersion)
      return this.held(connectionId, 0);
    this.#entries.delete(connectionId);
    this.#entries.set(connectionId, {
      newestVersion: tokenVersion,
      ...(this.#freshMs > 0 && { token }),
      freshUntilMs: this.#nowMs() + this.#freshMs,
      loweredMinTtlSeconds: isValid(token, minTtlSeconds) ? 0 : minTtlSeconds,
    });
    this.#bound();
    return token;
  }

  /** After a question that failed: what is held counts as fresh again, not for as long. */
  putOff(connectionId: string): void {
    const entry = this.#entries.get(connectionId);
    // Jitter, so that the clients of a fleet do not come back as one.
    const pauseMs = this.#freshMs * (0.5 + this.#random() / 2);
    if (entry !== undefined) entry.freshUntilMs = this.#nowMs() + pauseMs;
  }

  /** Lets go of the token, unless it is newer than the version. The version stays known. */
  drop(connectionId: string, upToVersion = Infinity): void {
    const entry = this.#entries.get(connectionId);
    if (entry !== undefined && entry.newestVersion <= upToVersion) delete entry.token;
  }

  clear(): void {
    this.#entries.clear();
  }

  #touch(connectionId: string): Entry | undefined {
    const entry = this.#entries.get(connectionId);
    if (entry === undefined) return undefined;
    if (entry.token !== undefined && !isValid(entry.token, 0)) delete entry.token;
    this.#entries.delete(connectionId);
    this.#entries.set(connectionId, entry);
    return entry;
  }

  #bound(): void {
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#maxEntries) break;
      this.#entries.delete(oldest);
    }
    if (this.#nowMs() - this.#sweptAtMs < sweepEveryMs) return;
    this.#sweptAtMs = this.#nowMs();
    for (const entry of this.#entries.values()) {
      if (entry.token !== undefined && !isValid(entry.token, 0)) delete entry.token;
    }
  }
}

function isValid(token: AccessToken, minTtlSeconds: number): boolean {
  const left = token.ttlSeconds();
  return left > 0 && left >= minTtlSeconds;
}
