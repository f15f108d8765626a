import type { GateEntry } from '../connections/app-gate.ts';
import type { AttemptRecord, Claim } from '../connections/exchange.ts';
import type { Failure } from '../oauth/failure-class.ts';
import type { TokenAnswer } from '../oauth/provider-answer.ts';
import { isStoreAway } from './activity-failure.ts';
import { gateEndOf, leaveGate } from './app-gate-pass.ts';
import { endOfAttempt } from './attempt-end.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import type { ExchangeFacts, PreparedExchange } from './exchange-preflight.ts';
import { followUpAfter, type FollowUp } from './follow-up.ts';
import type { RefreshStep } from './refresh-step.ts';
import { afterFailure, resolveStep, storeAwayStep, waitStep } from './step-results.ts';

interface EndedExchange {
  prepared: PreparedExchange;
  claimId: string;
  record: AttemptRecord;
  answer: TokenAnswer;
  judgement: Failure;
  claim: Claim;
  entry: GateEntry;
}

/**
 * Step 6 of the exchange, where the answer brought no tokens: records why, tells the app's gate, and says
 * what the Workflow does about it, or that another send follows at once.
 */
export async function settleExchange(
  dependencies: ExchangeDependencies,
  facts: ExchangeFacts,
  ended: EndedExchange,
): Promise<RefreshStep | FollowUp> {
  const { store, log, deadlinesMs, random } = dependencies;
  const { input, subject, replay, runId } = facts;
  const { prepared, claimId, record, answer, judgement, claim, entry } = ended;
  const followUp = followUpAfter(facts, ended);
  const { definition } = prepared;
  const attempt = { input, subject, replay, claim, claimId, record, definition, deadlinesMs };
  const { settlement, decision } = endOfAttempt(
    { ...attempt, fraction: random() },
    // What follows at once has nothing to wait for.
    followUp === null ? judgement : { ...judgement, retryAfterSeconds: 0 },
  );
  log.info(
    {
      provider: subject.app.provider,
      class: settlement.class,
      code: settlement.code,
      attempt: claim.attempt,
      duration_ms: record.durationMs,
    },
    'the token request brought no tokens',
  );
  let isSettled: boolean;
  try {
    isSettled = await store.settle(settlement);
  } catch (error) {
    if (!isStoreAway(error)) throw error;
    return storeAwayStep(input, settlement);
  }
  if (followUp !== null && isSettled) return followUp;
  const waitMs = settlement.class === 'permanent' ? 0 : settlement.retryAfterMs;
  await leaveGate(dependencies, entry, gateEndOf(prepared, answer, judgement, waitMs));
  if (!isSettled) return waitStep(subject, 0);

  // A replay that was answered leaves the earlier ambiguity, and needs no settling: its call is over.
  const isAnsweredReplay = replay !== null && settlement.class !== 'misconfigured';
  if (settlement.class === 'permanent' || (!settlement.isFateOpen && !isAnsweredReplay)) {
    return afterFailure(subject, settlement);
  }
  return resolveStep(subject, {
    generation: claim.generation,
    attempt: claim.attempt,
    workflowRunId: runId,
    // The call is dead and nobody else holds an answer: what follows waits for its back-off alone.
    settleMs: settlement.retryAfterMs,
    decision: settlement.isFateOpen ? decision : 'replay',
  });
}
