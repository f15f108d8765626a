import type { RefreshResult, RefreshTrigger } from '../client/contract.ts';
import type { Settlement, Verdict } from '../connections/exchange.ts';

/** Input of the Activity `refreshToken`: one exchange at most. */
export interface RefreshTokenInput {
  connectionId: string;
  /** Null: only if due. */
  newerThan: number | null;
  trigger: RefreshTrigger;
  /** The ambiguous attempt whose refresh token may be sent once more; null for a first send. */
  replayOf: number | null;
  /** The end of an earlier attempt that the store could not take. */
  unsettled: Settlement | Verdict | null;
}

/** Tokens that PostgreSQL could not take, as ciphertext: the only tokens a payload may hold. */
export interface SealedExchange {
  connectionId: string;
  tenantId: string;
  generation: number;
  attempt: number;
  /** Base64 of a sealed value of kind `sealed-result`. */
  sealed: string;
}

/** What the Workflow does next; `result` is its answer should it end here. */
export type RefreshStep =
  | { next: 'end'; result: RefreshResult }
  | {
      next: 'again';
      afterMs: number;
      unsettled: Settlement | Verdict | null;
      result: RefreshResult;
    }
  /** An attempt ended without anybody knowing how: settle, look for sealed tokens, then decide. */
  | { next: 'resolve'; ambiguous: AmbiguousAttempt; result: RefreshResult }
  | { next: 'store'; sealed: SealedExchange; result: RefreshResult };

export interface AmbiguousAttempt {
  generation: number;
  attempt: number;
  /** The run whose history may hold a sealed result. */
  workflowRunId: string;
  /** How long a process that still holds the answer is given to commit it. */
  settleMs: number;
  /** `replay`: come back for it now; `uncertain`: nothing may be done yet but to look for sealed tokens. */
  decision: 'replay' | 'uncertain';
}
