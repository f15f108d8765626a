import type { RefreshTrigger } from '../client/contract.ts';

/** A refresh that somebody asks Temporal for: a caller who waits, a Workflow that waits, or the sweep. */
export interface RefreshRequest {
  connectionId: string;
  tenantId: string;
  provider: string;
  /** The token_version that is not enough: the run refreshes unless a newer one is stored. */
  newerThan: number;
  trigger: RefreshTrigger;
  /** By the database's clock. */
  requestedAt: Date;
  /** Of the trace that the refresh belongs to (W3C Trace Context), or empty. */
  traceparent: string;
}
