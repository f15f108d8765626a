import type { Metrics } from '../platform/metrics.ts';
import type { CounterSeries } from '../platform/series.ts';
import type { TokenAnswer } from './token-service.ts';

/** Counts the tokens handed out, by where they came from. */
export interface TokenReads {
  count(source: TokenAnswer['source']): void;
}

export function createTokenReads({ tokenReads }: Pick<Metrics, 'tokenReads'>): TokenReads {
  // Made with the first read of each, for a source that has had none has no series.
  const series: Partial<Record<TokenAnswer['source'], CounterSeries>> = {};
  return {
    count: (source) => (series[source] ??= tokenReads.series({ source })).inc(),
  };
}
