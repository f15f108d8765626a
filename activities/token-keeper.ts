import type { CommitOutcome, Fence } from '../connections/exchange.ts';

const retryEveryMs = 1_000;

export interface UnstoredTokens {
  fence: Fence;
  /** Tries to commit once; throws while the store is away. */
  commit(): Promise<CommitOutcome>;
}

/**
 * Holds tokens that PostgreSQL could not take and tries again every second, for as long as the process
 * lives: a run that was terminated takes no result, so its history keeps nothing.
 */
export interface TokenKeeper {
  keep(tokens: UnstoredTokens): void;
  /** How many token sets are not stored yet. */
  count(): number;
  /** Tries each once more, now: for a process that is about to end. */
  tryOnce(): Promise<void>;
  /** Gives up waiting; what is not stored lies in the history of its run. */
  stop(): void;
}

export function createTokenKeeper(dependencies: {
  unstored: { inc(): void; dec(): void };
  onStored: (fence: Fence, outcome: CommitOutcome) => void;
}): TokenKeeper {
  const held = new Set<UnstoredTokens>();
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  async function tryAll(): Promise<void> {
    for (const tokens of held) {
      try {
        const outcome = await tokens.commit();
        // A last try of a process that ends may have met the same tokens.
        if (!held.delete(tokens)) continue;
        dependencies.unstored.dec();
        dependencies.onStored(tokens.fence, outcome);
      } catch {
        // The store is still away; the gauge shows it, and the next round tries again.
      }
    }
  }

  function schedule(): void {
    if (stopped || held.size === 0 || timer !== undefined) return;
    // tryAll catches each failure itself, so nothing can be lost by not awaiting it.
    timer = setTimeout(() => {
      void tryAll().then(() => {
        timer = undefined;
        schedule();
      });
    }, retryEveryMs);
  }

  return {
    keep(tokens) {
      held.add(tokens);
      dependencies.unstored.inc();
      schedule();
    },
    count: () => held.size,
    tryOnce: tryAll,
    stop() {
      stopped = true;
      clearTimeout(timer);
      held.clear();
    },
  };
}
