/** How much and how slowly clients may send; what a listener takes before it refuses. */
export interface HttpLimits {
  /** The slowest request line and headers, counted from the opening of a new connection. */
  headersMs: number;
  /** The slowest whole request. */
  requestMs: number;
  /** The slowest TLS handshake. */
  handshakeMs: number;
  /** How often connections are looked at for these. */
  checkEveryMs: number;
  /** A connection without a request; longer than load balancers keep theirs (60 s). */
  keepAliveMs: number;
  /** A connection on which no byte moves; longer than the longest wait for a refresh (60 s). */
  silenceMs: number;
  /** Beyond it a connection gets only what memory answers, and is closed after it. */
  connections: number;
  /** So many more are let in to be told so; the rest is closed without an answer. */
  connectionsBeyond: number;
}

export const httpLimits: HttpLimits = {
  headersMs: 10_000,
  requestMs: 30_000,
  handshakeMs: 10_000,
  checkEveryMs: 1_000,
  keepAliveMs: 65_000,
  silenceMs: 90_000,
  connections: 10_000,
  connectionsBeyond: 1_000,
};

/**
 * A draining gateway lets callers wait so long, then answers `refresh_in_progress`, and cuts what is
 * left a little later; a process that ends has 25 s in all.
 */
export const drainWaitMs = 20_000;
export const drainLimitMs = 23_000;
