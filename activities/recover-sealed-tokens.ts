import type { RefreshResult } from '../client/contract.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import { storeSealedTokens } from './store-sealed-tokens.ts';
import { resultOf } from './step-results.ts';

export interface RecoverSealedTokensInput {
  connectionId: string;
  /** The generation and attempt of the ambiguous intent. */
  generation: number;
  /** The run that the intent names. */
  workflowRunId: string;
}

/**
 * The Activity `recoverSealedTokens`: before any replay or verdict, sealed tokens in the history of the
 * run that the intent names are stored. Null: there were none and the generation is still the same, so
 * the attempt stays ambiguous. Idempotent; throws as `storeSealedTokens` does.
 */
export async function recoverSealedTokens(
  dependencies: ExchangeDependencies,
  input: RecoverSealedTokensInput,
): Promise<RefreshResult | null> {
  const sealed = await dependencies.sealedResults(input.connectionId, input.workflowRunId);
  for (const result of sealed) {
    if (result.generation !== input.generation) continue;
    const stored = await storeSealedTokens(dependencies, result);
    if (stored !== null) return stored;
  }
  // A process that still held the answer may have committed it while the run settled.
  const subject = await dependencies.store.load(input.connectionId);
  if (subject === undefined || subject.connection.generation === input.generation) return null;
  return resultOf(subject.connection, 'already_fresh');
}
