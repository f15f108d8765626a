import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  proxyActivities,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type {
  AmbiguousAttempt,
  RefreshStep,
  RefreshTokenInput,
} from '../activities/refresh-step.ts';
import type { RefreshConnectionInput, RefreshResult } from '../client/contract.ts';

/** A run never sleeps longer: `next_attempt_at` is stored, and callers get the stored problem at once. */
const sleepMaxMs = 30_000;
/** Ends a run that gets nowhere, such as one whose store stays away; the next caller starts another. */
const roundsMax = 60;
const lostActivityRetryMs = 500;
/** Temporal's timers and the database's clock differ by a little; a timer too early costs a round. */
const clockSlackMs = 10;

const refreshOutcome = defineSearchAttributeKey('RefreshOutcome', SearchAttributeType.KEYWORD);

const { storeSealedTokens, recoverSealedTokens } = proxyActivities<Activities>({
  startToCloseTimeout: '20s',
  // Unlimited: what lies sealed in a history must come into the store.
  retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '15s' },
});

/**
 * One refresh of one connection; Workflow ID `refresh/<connection id>`, whose uniqueness serialises the
 * refreshes of a connection. Decides every retry: the Activity that spends the refresh token is never
 * retried by Temporal. Business outcomes are results; a failed run is a fault of ours.
 */
export async function refreshConnection(input: RefreshConnectionInput): Promise<RefreshResult> {
  const result = await refresh(input);
  upsertSearchAttributes([{ key: refreshOutcome, value: result.outcome }]);
  return result;
}

async function refresh(input: RefreshConnectionInput): Promise<RefreshResult> {
  const question: RefreshTokenInput = {
    connectionId: input.connectionId,
    newerThan: input.newerThan ?? null,
    trigger: input.trigger,
    replayOf: null,
    unsettled: null,
  };
  let result: RefreshResult | undefined;
  for (let round = 1; round <= roundsMax; round += 1) {
    const step = await exchange(round, question);
    if (step === 'lost') {
      await sleep(lostActivityRetryMs);
      continue;
    }
    result = step.result;
    question.unsettled = null;
    switch (step.next) {
      case 'end':
        return result;
      case 'again':
        question.unsettled = step.unsettled;
        if (step.afterMs > sleepMaxMs) return result;
        await sleep(step.afterMs + clockSlackMs);
        break;
      case 'store': {
        const stored = await uncancelled(() => storeSealedTokens(step.sealed));
        if (stored !== null && isNewer(stored, question)) return stored;
        break;
      }
      case 'resolve': {
        if (step.ambiguous.settleMs > sleepMaxMs) return result;
        const recovered = await recover(step.ambiguous, input.connectionId);
        if (recovered !== null && isNewer(recovered, question)) return recovered;
        if (recovered === null && step.ambiguous.decision === 'uncertain') return result;
        question.replayOf = step.ambiguous.attempt;
        break;
      }
    }
  }
  if (result !== undefined) return result;
  throw ApplicationFailure.nonRetryable('The refresh Activity was lost each time.', 'internal');
}

/**
 * One Activity, one send at most. `lost`: its worker died or it failed for want of a dependency; the
 * next one learns from the intent whether anything was sent.
 */
async function exchange(round: number, question: RefreshTokenInput): Promise<RefreshStep | 'lost'> {
  const { refreshToken } = proxyActivities<Activities>({
    activityId: `refresh-token-${round}`,
    startToCloseTimeout: '75s',
    // A crash shows within seconds. A false one is safe: the next Activity meets the open intent.
    heartbeatTimeout: '5s',
    retry: { maximumAttempts: 1 },
  });
  try {
    return await uncancelled(() => refreshToken(question));
  } catch (error) {
    if (error instanceof ActivityFailure && !isOurFault(error)) return 'lost';
    throw error;
  }
}

function isOurFault(failure: ActivityFailure): boolean {
  return failure.cause instanceof ApplicationFailure && failure.cause.nonRetryable === true;
}

/**
 * Lets a process that still holds the answer commit it, then stores what the run that the intent names
 * has sealed in its history. Null: nothing was to be had.
 */
async function recover(
  ambiguous: AmbiguousAttempt,
  connectionId: string,
): Promise<RefreshResult | null> {
  if (ambiguous.settleMs > 0) await sleep(ambiguous.settleMs + clockSlackMs);
  const { generation, workflowRunId } = ambiguous;
  if (ambiguous.settleMs === 0 && workflowRunId === workflowInfo().runId) return null;
  return uncancelled(() => recoverSealedTokens({ connectionId, generation, workflowRunId }));
}

function isNewer(result: RefreshResult, question: RefreshTokenInput): boolean {
  return result.tokenVersion > (question.newerThan ?? -1);
}

/** Cancelling a run must neither free its id while a call is live nor abandon sealed tokens. */
function uncancelled<Result>(work: () => Promise<Result>): Promise<Result> {
  return CancellationScope.nonCancellable(work);
}
