import { activityInfo, heartbeat } from '@temporalio/activity';
import { exchangeStanding } from '../connections/exchange-standing.ts';
import type { ExchangeSubject } from '../connections/exchange.ts';
import { isStoreAway } from './activity-failure.ts';
import { leaveGate } from './app-gate-pass.ts';
import { Exchange } from './exchange.ts';
import type { FollowUp } from './follow-up.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import type { RefreshStep, RefreshTokenInput } from './refresh-step.ts';
import { goneStep, storeAwayStep, waitStep } from './step-results.ts';
import { stepWithoutSending } from './step-without-sending.ts';

const heartbeatEveryMs = 1_000;
const standingRoundsMax = 3;
const claimRaceRetryMs = 250;
/** The app has its share of the slots; up to twice this, so that those who wait spread out. */
const appBusyRetryMs = 2_000;

/**
 * The Activity `refreshToken`: at most one exchange. Whatever a provider, the store or the key service
 * does comes back as a step, so an Activity that fails is a fault of ours.
 */
export async function refreshToken(
  dependencies: ExchangeDependencies,
  input: RefreshTokenInput,
): Promise<RefreshStep> {
  const beat = setInterval(() => {
    heartbeat();
  }, heartbeatEveryMs);
  try {
    return await refresh(dependencies, input, activityInfo().workflowExecution?.runId ?? '');
  } finally {
    clearInterval(beat);
  }
}

async function refresh(
  dependencies: ExchangeDependencies,
  input: RefreshTokenInput,
  runId: string,
): Promise<RefreshStep> {
  const { store, appSlots, random } = dependencies;
  try {
    if (input.unsettled !== null) await store.settle(input.unsettled);
    let { replayOf } = input;
    let followUp: FollowUp | null = null;
    for (let round = 0; round < standingRoundsMax;) {
      const subject = await store.load(input.connectionId);
      const standing = exchangeStanding(subject, {
        newerThan: input.newerThan,
        replayOf,
        now: subject?.connection.readAt ?? new Date(0),
      });
      if (subject === undefined) return goneStep(input);
      if (standing.kind === 'gone') return told(dependencies, input, subject, goneStep(input));
      if (standing.kind !== 'may_send') {
        if (followUp !== null) await leaveGate(dependencies, followUp.entry, { kind: 'unsent' });
        const step = await stepWithoutSending(dependencies, input, subject, standing);
        // To look again whether an open call has ended is no refresh that ended.
        return step.next === 'again' ? step : told(dependencies, input, subject, step);
      }
      const giveBack = appSlots.take(subject.app.id);
      if (giveBack === undefined) return waitStep(subject, appBusyRetryMs * (1 + random()));
      const { replay } = standing;
      if (round === 0 && followUp === null) observeQueue(dependencies, subject);
      const exchange: Exchange = new Exchange(dependencies, {
        input,
        runId,
        subject,
        replay,
        followUp,
      });
      const step: Awaited<ReturnType<Exchange['run']>> = await exchange.run().finally(giveBack);
      followUp = null;
      if (step === 'claim_lost') {
        round += 1;
        continue;
      }
      if ('kind' in step) {
        // One more a client secret and one for a nonce, so it ends.
        followUp = step;
        replayOf = step.replayOf;
        continue;
      }
      return told(dependencies, input, subject, step);
    }
    return storeAwayStep(input, null, claimRaceRetryMs);
  } catch (error) {
    // No tokens are in hand here: the exchange keeps what it learnt itself.
    if (isStoreAway(error)) return storeAwayStep(input, input.unsettled);
    throw error;
  }
}

/** From the request to the exchange, both by the database's clock. */
function observeQueue(
  { currentCall, metrics }: ExchangeDependencies,
  { app, connection }: ExchangeSubject,
): void {
  const { requestedAt } = currentCall();
  if (requestedAt === undefined) return;
  const seconds = (connection.readAt.getTime() - requestedAt.getTime()) / 1_000;
  const labels = { provider: app.provider, phase: 'queue' } as const;
  metrics.refreshDurationSeconds.observe(labels, Math.max(seconds, 0));
}

/** The step, counted and logged: one line an exchange. */
function told(
  { log, metrics }: ExchangeDependencies,
  { trigger }: RefreshTokenInput,
  { app: { provider } }: ExchangeSubject,
  step: RefreshStep,
): RefreshStep {
  const { outcome, tokenVersion } = step.result;
  metrics.refreshes.inc({ provider, outcome, trigger });
  log.info({ provider, trigger, outcome, next: step.next, token_version: tokenVersion }, 'refresh');
  return step;
}
