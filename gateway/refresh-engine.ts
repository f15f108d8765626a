import type { RefreshResult, RefreshTrigger } from '../client/contract.ts';

export interface RefreshRequest {
  connectionId: string;
  tenantId: string;
  provider: string;
  /** The token_version that is not enough: the run refreshes unless a newer one is stored. */
  newerThan: number;
  trigger: RefreshTrigger;
  /** By the database's clock. */
  requestedAt: Date;
  traceparent: string;
}

/** The gateway's one port to Temporal. */
export interface RefreshEngine {
  /**
   * Starts the refresh of a connection, or joins the one that runs, and awaits *that* run. Undefined:
   * the run was terminated, or ended without a result; the row says what is stored. Rejects with
   * `refresh_engine_unavailable` when Temporal cannot be asked, and with the signal's reason when it
   * is aborted; the run goes on all the same.
   */
  refresh(
    request: RefreshRequest,
    signal: AbortSignal,
    /** Called when Temporal has taken the start. */
    onStarted?: () => void,
  ): Promise<RefreshResult | undefined>;
}
