import type { Metrics } from '../platform/metrics.ts';
import type { TokenAnswer } from './token-service.ts';

/** Counts the tokens handed out, by where they came from. */
export interface TokenReads {
  count(source: TokenAnswer['source']): void;
}

export function createTokenReads({ tokenReads }: Pick<Metrics, 'tokenReads'>): TokenReads {
  const series = {
    cache: tokenReads.series({ source: 'cache' }),
    store: tokenReads.series({ source: 'store' }),
    refresh: tokenReads.series({ source: 'refresh' }),
    stale: tokenReads.series({ source: 'stale' }),
  };
  return { count: (source) => series[source].inc() };
}
