import type { RefreshTrigger } from '../client/contract.ts';
import { claimRefresh } from './claim-refresh.ts';
import { commitLateTokens, commitTokens } from './commit-tokens.ts';
import type {
  AttemptRecord,
  Claim,
  ClaimRequest,
  CommitOutcome,
  ExchangeSubject,
  Fence,
  LateFence,
  Postponement,
  SealedTokens,
  Settlement,
  Verdict,
} from './exchange.ts';
import { loadSubject } from './load-subject.ts';
import {
  deferAttempt,
  endDeletedAttempt,
  postpone,
  settleFailure,
  settleVerdict,
} from './settle-attempt.ts';
import type { Queryable } from './store-query.ts';
import type { SealedValue } from './token-vault.ts';
import { deferResolution, markUncertain } from './uncertain-connection.ts';

/** The statements of the exchange. Each throws `store_unavailable` and then has changed nothing. */
export interface ExchangeStore {
  load(connectionId: string): Promise<ExchangeSubject | undefined>;
  /** Undefined: somebody else's claim, a newer generation, a pause or a waiting time stands against it. */
  claim(request: ClaimRequest): Promise<Claim | undefined>;
  /** `sealedResult` seals the same tokens for the intent of a later attempt, if one is open. */
  commit(
    fence: Fence,
    tokens: SealedTokens,
    record: AttemptRecord | null,
    sealedResult: () => SealedValue,
  ): Promise<CommitOutcome>;
  /** Stores late tokens that lie in the intent of `fence.attempt`; false if they no longer do. */
  commitLate(
    fence: LateFence,
    tokens: SealedTokens,
    record: AttemptRecord | null,
  ): Promise<boolean>;
  /**
   * False: a later attempt or generation has gone past, or tokens lie in the intent. A verdict is
   * never written while tokens of its generation exist. Idempotent.
   */
  settle(settlement: Settlement | Verdict): Promise<boolean>;
  /** Nothing was claimed; says why, and until when to wait. */
  postpone(postponement: Postponement): Promise<void>;
  /** Nothing failed, but others come first: nobody asks again before. */
  defer(fence: Fence, afterMs: number): Promise<void>;
  /** Nobody may act on the uncertain attempt yet: when somebody should look again; null: never. */
  deferResolution(fence: Fence, refreshDueAfterMs: number | null): Promise<void>;
  /**
   * An intent past its answer_by that nobody settled: the connection is uncertain from now on, and due
   * after so many milliseconds; null: never of its own accord. The log names the run that made the
   * attempt, and what triggered the one that finds it.
   */
  markUncertain(
    fence: Fence,
    refreshDueAfterMs: number | null,
    trigger: RefreshTrigger,
  ): Promise<void>;
}

/** `announcesRefreshes`: whether each refresh is an event now; default: never. */
export function createExchangeStore(
  store: Queryable,
  announcesRefreshes: () => boolean = () => false,
): ExchangeStore {
  return {
    load: (connectionId) => loadSubject(store, connectionId),
    claim: (request) => claimRefresh(store, request),
    commit: (fence, tokens, record, sealedResult) =>
      commitTokens(store, fence, tokens, record, {
        sealedResult,
        announcesRefreshes: announcesRefreshes(),
      }),
    commitLate: (fence, tokens, record) =>
      commitLateTokens(store, fence, tokens, record, { announcesRefreshes: announcesRefreshes() }),
    async settle(settlement) {
      const isVerdict = settlement.class === 'permanent';
      const isSettled = isVerdict
        ? await settleVerdict(store, settlement)
        : await settleFailure(store, settlement);
      if (isSettled) return true;
      const isFateOpen = !isVerdict && settlement.isFateOpen;
      await endDeletedAttempt(store, { ...settlement, isFateOpen });
      return false;
    },
    postpone: (postponement) => postpone(store, postponement),
    defer: (fence, afterMs) => deferAttempt(store, fence, afterMs),
    deferResolution: (fence, dueAfterMs) => deferResolution(store, fence, dueAfterMs),
    markUncertain: (fence, dueAfterMs, trigger) => markUncertain(store, fence, dueAfterMs, trigger),
  };
}
