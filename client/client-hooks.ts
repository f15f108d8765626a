/**
 * What a service may count or log. All are called synchronously, may be absent, and what they throw is
 * dropped. `route`, `source` and `code` are bounded, so they can be labels of a metric; a connection's id is not.
 */
export interface ClientHooks {
  /** A token was handed out. */
  onToken?: (event: {
    connectionId: string;
    /**
     * `window`: held, and younger than `cacheSeconds`. `gateway`: asked for. `joined`: another caller's question
     * brought it. `held`: the service could not be asked in time, and what is held is still valid.
     */
    source: 'window' | 'gateway' | 'joined' | 'held';
    durationMs: number;
  }) => void;
  /** A request to the service ended. `status` is undefined without an answer, `code` on a 200. */
  onRequest?: (event: {
    route: 'token' | 'refresh';
    status: number | undefined;
    code: string | undefined;
    attempt: number;
    durationMs: number;
  }) => void;
  /** A request will be made again after so long. */
  onRetry?: (event: {
    route: 'token' | 'refresh';
    code: string;
    attempt: number;
    delayMs: number;
  }) => void;
  /** The service stopped answering (true), or answers again (false). */
  onGatewayAway?: (isAway: boolean) => void;
  /** `fetch` got a 401 with this version of the token. */
  onTokenRejected?: (event: { connectionId: string; tokenVersion: number }) => void;
  /** The files of `tls` were taken anew, or, with an error, could not be: the old ones are used on. */
  onTlsReload?: (error: Error | undefined) => void;
}
