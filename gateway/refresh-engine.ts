import type { RefreshResult } from '../client/contract.ts';
import type { RefreshRequest } from '../connections/refresh-request.ts';

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
