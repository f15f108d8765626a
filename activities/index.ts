import type { RefreshResult } from '../client/contract.ts';
import { toApplicationFailure } from './activity-failure.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import { recoverSealedTokens, type RecoverSealedTokensInput } from './recover-sealed-tokens.ts';
import type { RefreshStep, RefreshTokenInput, SealedExchange } from './refresh-step.ts';
import { refreshToken } from './refresh-token.ts';
import { storeSealedTokens } from './store-sealed-tokens.ts';

/** Every side effect that a Workflow can ask for. */
export interface Activities {
  refreshToken(input: RefreshTokenInput): Promise<RefreshStep>;
  storeSealedTokens(sealed: SealedExchange): Promise<RefreshResult | null>;
  recoverSealedTokens(input: RecoverSealedTokensInput): Promise<RefreshResult | null>;
}

export function createActivities(dependencies: ExchangeDependencies): Activities {
  return {
    refreshToken: converted(refreshToken),
    storeSealedTokens: converted(storeSealedTokens),
    recoverSealedTokens: converted(recoverSealedTokens),
  };

  /**
   * Errors cross into Temporal in one form, logged here, where their causes are still known. Every line
   * of an Activity says which connection, run and trace it belongs to.
   */
  function converted<Input extends { connectionId: string }, Output>(
    activity: (scoped: ExchangeDependencies, input: Input) => Promise<Output>,
  ): (input: Input) => Promise<Output> {
    return async (input) => {
      const { runId, traceId } = dependencies.currentCall();
      const log = dependencies.log.child({
        connection_id: input.connectionId,
        run_id: runId,
        trace_id: traceId,
      });
      try {
        return await activity({ ...dependencies, log }, input);
      } catch (error) {
        log.error({ err: error }, 'an Activity failed');
        throw toApplicationFailure(error);
      }
    };
  }
}
