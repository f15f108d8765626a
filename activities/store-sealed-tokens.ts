import type { RefreshResult } from '../client/contract.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import { openResult, sealResult, sealTokens } from './kept-tokens.ts';
import type { SealedExchange } from './refresh-step.ts';
import { resultOf } from './step-results.ts';

/**
 * The Activity `storeSealedTokens`: second chance to commit what the exchange could only seal. Safe to
 * repeat: the same compare-and-swap, which yields to newer credentials. Null: the tokens lie in the
 * intent of a later attempt, or the connection is gone. Throws `store_unavailable`,
 * `key_service_unavailable`; `internal` if the value does not open.
 */
export async function storeSealedTokens(
  { vault, store, log, metrics }: ExchangeDependencies,
  sealed: SealedExchange,
): Promise<RefreshResult | null> {
  const { connectionId, tenantId, generation, attempt } = sealed;
  const owner = { tenantId, id: connectionId, generation };
  const bytes = Buffer.from(sealed.sealed, 'base64');
  const result = await openResult(vault, owner, bytes);
  const sealer = await vault.sealer();
  const tokens = sealTokens(sealer, { ...owner, generation: generation + 1 }, result.kept);
  const outcome = await store.commit(
    { connectionId, generation, attempt },
    tokens,
    result.record,
    () => sealResult(sealer, owner, result),
  );
  log.info({ generation, outcome }, 'sealed tokens');
  const subject = await store.load(connectionId);
  if (subject === undefined || subject.connection.generation === generation) return null;
  if (outcome === 'stored' && result.record !== null) {
    const { provider } = subject.app;
    metrics.refreshes.inc({ provider, outcome: 'refreshed', trigger: result.record.trigger });
  }
  return resultOf(subject.connection, 'refreshed');
}
