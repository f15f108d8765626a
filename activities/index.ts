import type { RefreshResult } from '../client/contract.ts';
import { toApplicationFailure } from './activity-failure.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import { recoverSealedTokens, type RecoverSealedTokensInput } from './recover-sealed-tokens.ts';
import type { RefreshStep, RefreshTokenInput, SealedExchange } from './refresh-step.ts';
import { createRefreshToken } from './refresh-token.ts';
import { storeSealedTokens } from './store-sealed-tokens.ts';

/** Every side effect that a Workflow can ask for. */
export interface Activities {
  refreshToken(input: RefreshTokenInput): Promise<RefreshStep>;
  storeSealedTokens(sealed: SealedExchange): Promise<RefreshResult | null>;
  recoverSealedTokens(input: RecoverSealedTokensInput): Promise<RefreshResult | null>;
}

export function createActivities(dependencies: ExchangeDependencies): Activities {
  const refreshToken = createRefreshToken(dependencies);
  return {
    refreshToken: converted(refreshToken),
    storeSealedTokens: converted((sealed) => storeSealedTokens(dependencies, sealed)),
    recoverSealedTokens: converted((input) => recoverSealedTokens(dependencies, input)),
  };

  /** Errors cross into Temporal in one form, logged here, where their causes are still known. */
  function converted<Input, Output>(
    activity: (input: Input) => Promise<Output>,
  ): (input: Input) => Promise<Output> {
    return async (input) => {
      try {
        return await activity(input);
      } catch (error) {
        dependencies.log.error({ err: error }, 'an Activity failed');
        throw toApplicationFailure(error);
      }
    };
  }
}
