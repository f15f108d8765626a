import { setTimeout as sleep } from 'node:timers/promises';
import type {
  AttemptRecord,
  CommitOutcome,
  ExchangeSubject,
  Fence,
} from '../connections/exchange.ts';
import type { Sealer } from '../connections/token-vault.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import { sealResult, sealTokens, type KeptTokens } from './kept-tokens.ts';
import type { RefreshStep } from './refresh-step.ts';
import { resultOf, waitStep } from './step-results.ts';

/** Pauses between the in-process tries of a commit, before the tokens go sealed to Temporal. */
const commitPausesMs = [50, 200, 500, 1_000, 1_500];

interface TokensInHand {
  subject: ExchangeSubject;
  fence: Fence;
  kept: KeptTokens;
  sealer: Sealer;
  record: AttemptRecord;
}

/**
 * Step 5 of the exchange: seal, then commit by compare-and-swap. If the store is away, the process goes
 * on trying (token-keeper.ts) and the sealed tokens become the Activity's result, so that the history
 * of the run keeps them too.
 */
export async function keepTokens(
  dependencies: ExchangeDependencies,
  inHand: TokensInHand,
): Promise<RefreshStep> {
  const { clock, metrics, keeper, log } = dependencies;
  const { subject, fence, kept, sealer, record } = inHand;
  const { connection, app } = subject;
  const owner = { tenantId: connection.tenantId, id: connection.id, generation: fence.generation };
  const tokens = sealTokens(sealer, { ...owner, generation: owner.generation + 1 }, kept);
  const sealedResult = sealResult(sealer, owner, { kept, record });
  const commit = (): Promise<CommitOutcome> =>
    dependencies.store.commit(fence, tokens, record, () => sealedResult);

  const startedAtMs = clock.monotonicMs();
  const outcome = await tryCommit(commit, (error) => {
    log.warn({ err: error }, 'new tokens could not be stored yet');
  });
  if (outcome === undefined) {
    keeper.keep({
      fence,
      async commit() {
        const late = await commit();
        if (late === 'stored') {
          const labels = { provider: app.provider, trigger: record.trigger };
          metrics.refreshes.inc({ ...labels, outcome: 'refreshed' });
        }
        return late;
      },
    });
    return {
      next: 'store',
      sealed: {
        connectionId: connection.id,
        tenantId: connection.tenantId,
        generation: fence.generation,
        attempt: fence.attempt,
        sealed: sealedResult.bytes.toString('base64'),
      },
      result: resultOf(connection, 'waiting'),
    };
  }
  metrics.refreshDurationSeconds.observe(
    { provider: app.provider, phase: 'commit' },
    (clock.monotonicMs() - startedAtMs) / 1_000,
  );
  if (outcome !== 'stored') return waitStep(subject, 0);
  if (kept.failure !== null) return waitStep(subject, kept.failure.retryAfterMs);
  return {
    next: 'end',
    result: {
      connectionId: connection.id,
      outcome: 'refreshed',
      tokenVersion: connection.tokenVersion + 1,
      expiresAt: kept.expiresAt?.toISOString() ?? null,
    },
  };
}

/** Undefined: not within these tries. Any error counts as the store's, for the tokens must be kept. */
async function tryCommit(
  commit: () => Promise<CommitOutcome>,
  onError: (error: unknown) => void,
): Promise<CommitOutcome | undefined> {
  for (const pauseMs of [...commitPausesMs, null]) {
    try {
      return await commit();
    } catch (error) {
      if (pauseMs === null) onError(error);
      else await sleep(pauseMs);
    }
  }
  return undefined;
}
