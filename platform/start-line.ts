/** Starts that wait for their turn, so that a burst does not outlast the deadline that each of them has. */
export interface StartLine {
  /**
   * Runs `start` when it is its turn: whatever callers wait for goes before the rest, else first come, first
   * served. Rejects as `start` does, or, still in the line, with the failure of another after which none
   * succeeded; with the signal's reason where that is aborted before its turn.
   */
  run<Result>(
    start: () => Promise<Result>,
    order: { isAwaited: boolean; signal: AbortSignal },
  ): Promise<Result>;
}

interface Waiting {
  begin: () => void;
  fail: (error: unknown) => void;
}

export function createStartLine(atOnceMax: number): StartLine {
  const awaited: Waiting[] = [];
  const others: Waiting[] = [];
  let underWay = 0;
  let succeeded = 0;

  function turn(isAwaited: boolean): Promise<void> {
    if (underWay < atOnceMax) {
      underWay += 1;
      return Promise.resolve();
    }
    // It takes over the place of the one that ends.
    return new Promise((begin, fail) => {
      (isAwaited ? awaited : others).push({ begin, fail });
    });
  }

  async function work<Result>(start: () => Promise<Result>): Promise<Result> {
    const before = succeeded;
    try {
      const result = await start();
      succeeded += 1;
      return result;
    } catch (error) {
      // Nothing answers: who waits would only hear the same, one deadline later.
      if (succeeded === before) {
        for (const { fail } of [...awaited.splice(0), ...others.splice(0)]) fail(error);
      }
      throw error;
    }
  }

  return {
    async run(start, { isAwaited, signal }) {
      await turn(isAwaited);
      try {
        signal.throwIfAborted();
        return await work(start);
      } finally {
        const next = awaited.shift() ?? others.shift();
        if (next === undefined) underWay -= 1;
        else next.begin();
      }
    },
  };
}
