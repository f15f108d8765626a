interface Stoppable {
  stop: () => Promise<void> | void;
  kill?: () => void;
}

/** What has been started, to be stopped in reverse order whatever happens. */
export interface Shutdown {
  /** `kill` is for impatience: at once, without waiting. */
  add(what: string, part: Stoppable): void;
  /** Stops everything once; a part that cannot be stopped is told and does not keep the others. */
  run(): Promise<void>;
  killAll(): void;
}

export function createShutdown(report: (line: string) => void): Shutdown {
  const parts: (Stoppable & { what: string })[] = [];
  let running: Promise<void> | undefined;

  async function stopAll(): Promise<void> {
    for (const { what, stop } of parts.toReversed()) {
      try {
        await stop();
      } catch (error) {
        report(`${what} could not be stopped: ${error instanceof Error ? error.message : '?'}`);
      }
    }
  }

  return {
    add: (what, part) => parts.push({ what, ...part }),
    run: () => (running ??= stopAll()),
    killAll() {
      for (const { kill } of parts) kill?.();
    },
  };
}
