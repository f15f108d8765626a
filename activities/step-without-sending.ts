import type { RefreshOutcome } from '../client/contract.ts';
import type { ExchangeStanding } from '../connections/exchange-standing.ts';
import type { ExchangeSubject, RefreshIntent } from '../connections/exchange.ts';
import { settlingMs } from '../oauth/rotation.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import { openResult, sealTokens } from './kept-tokens.ts';
import type { RefreshStep, RefreshTokenInput } from './refresh-step.ts';
import { dueAfterMs, offeredProbe, resolveAmbiguity } from './resolve-ambiguity.ts';
import { resolveStep, resultOf, waitStep } from './step-results.ts';

/** Between looks at a call that is open elsewhere: its answer may be stored any moment. */
const openIntentPollMs = 2_000;

/** What the run does when the connection, as it stands, is not to be sent for. */
export async function stepWithoutSending(
  dependencies: ExchangeDependencies,
  input: RefreshTokenInput,
  subject: ExchangeSubject,
  standing: Exclude<ExchangeStanding, { kind: 'may_send' | 'gone' }>,
): Promise<RefreshStep> {
  const end = (outcome: RefreshOutcome): RefreshStep => ({
    next: 'end',
    result: resultOf(subject.connection, outcome),
  });
  switch (standing.kind) {
    case 'already_fresh':
    case 'paused':
    case 'reauthorization_required':
      return end(standing.kind);
    case 'app_paused':
      return end('app_misconfigured');
    case 'wait':
      return waitStep(subject, standing.afterMs);
    case 'open':
      return waitStep(subject, Math.min(standing.afterMs + 1, openIntentPollMs));
    case 'late_tokens':
      return storeLateTokens(dependencies, subject, standing);
    case 'ambiguous':
      return resolve(dependencies, input, subject, standing.intent);
  }
}

/** Tokens of an older attempt lie in the intent of a dead one: they are stored before anything else. */
async function storeLateTokens(
  { vault, store, log }: ExchangeDependencies,
  subject: ExchangeSubject,
  { intent, late }: { intent: RefreshIntent; late: NonNullable<RefreshIntent['late']> },
): Promise<RefreshStep> {
  const { connection } = subject;
  const owner = { tenantId: connection.tenantId, id: connection.id, generation: intent.generation };
  const { kept, record } = await openResult(vault, owner, late.sealed);
  const tokens = sealTokens(
    await vault.sealer(),
    { ...owner, generation: owner.generation + 1 },
    kept,
  );
  const fence = {
    connectionId: connection.id,
    generation: intent.generation,
    attempt: intent.attempt,
    lateAttempt: late.attempt,
  };
  const isStored = await store.commitLate(fence, tokens, record);
  log.info({ attempt: late.attempt, isStored }, 'late tokens');
  return waitStep(subject, 0);
}

/** The connection is uncertain as a matter of fact; says whether its class lets anybody act on it now. */
async function resolve(
  { store, providers, deadlinesMs }: ExchangeDependencies,
  input: RefreshTokenInput,
  subject: ExchangeSubject,
  intent: RefreshIntent,
): Promise<RefreshStep> {
  const { connection, app } = subject;
  const definition = providers.resolve(app.provider, app.overrides);
  const now = connection.readAt;
  const ambiguous = { subject, intent, definition, deadlinesMs, input, now };
  const decision = resolveAmbiguity(ambiguous, offeredProbe(definition));
  const { generation, attempt, workflowRunId, answerBy } = intent;
  await store.markUncertain(
    { connectionId: connection.id, generation, attempt },
    dueAfterMs(decision),
    input.trigger,
  );
  // Tokens that lie in the intent are stored in place of a replay, whatever the class allows.
  const isDue = intent.late !== null || decision.kind !== 'wait';
  return resolveStep(subject, {
    generation,
    attempt,
    workflowRunId,
    settleMs: Math.max(answerBy.getTime() + settlingMs(definition.rotation) - now.getTime(), 0),
    decision: isDue ? 'replay' : 'uncertain',
  });
}
