import type { TokenNotices } from '../connections/token-notices.ts';

/** Tells those who wait for a connection that another token of it was stored. */
export interface TokenArrivals {
  /** Calls once, with the next notice. Returns how not to be called any more. */
  next(connectionId: string, arrived: () => void): () => void;
}

/**
 * A token can be read from the moment its commit is told of, some way before the run that stored it has
 * ended. Where no notice comes, the end of the run does.
 */
export function createTokenArrivals(notices: TokenNotices | undefined): TokenArrivals {
  const waiting = new Map<string, Set<() => void>>();

  notices?.subscribe((connectionId) => {
    const those = waiting.get(connectionId);
    waiting.delete(connectionId);
    for (const arrived of those ?? []) arrived();
  });

  return {
    next(connectionId, arrived) {
      const those = waiting.get(connectionId) ?? new Set();
      waiting.set(connectionId, those.add(arrived));
      return () => {
        those.delete(arrived);
        if (those.size === 0 && waiting.get(connectionId) === those) waiting.delete(connectionId);
      };
    },
  };
}
