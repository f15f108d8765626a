const intervalMs = 5_000;
const startingIntervalMs = 500;
const checkTimeoutMs = 2_000;

/** `namespace_not_found`: Temporal answers and has no such namespace, so that nothing is refreshed. */
export type CheckState = 'ok' | 'unavailable' | 'namespace_not_found' | 'unchecked';

export interface Readiness {
  /**
   * `not_ready` only while starting or draining. A dependency that goes away afterwards is `degraded`:
   * fresh reads go on without it, and a refusal from every replica at once would end them.
   */
  status: 'ready' | 'degraded' | 'not_ready';
  checks: Record<string, CheckState>;
}

export interface ReadinessMonitor {
  current: () => Readiness;
  /** From now on `not_ready`: the process is about to end. */
  drain: () => void;
  /** Ends the polling; checks under way are left to their own deadlines. */
  close: () => void;
}

/**
 * Polls dependencies every 5 s (every 0.5 s while starting), 2 s a check at most; a check that rejects
 * or takes longer counts as unavailable, one that resolves with a state has that, any other is ok. Ready for the first time once all that `required` names were
 * ok.
 */
export function createReadiness<Name extends string>(options: {
  checks: Record<Name, () => Promise<unknown>>;
  required: readonly NoInfer<Name>[];
}): ReadinessMonitor {
  const states = new Map<Name, CheckState>();
  const names = Object.keys(options.checks) as Name[];
  for (const name of names) states.set(name, 'unchecked');
  let isStarted = false;
  let isDraining = false;
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;

  async function poll(): Promise<void> {
    await Promise.all(
      names.map(async (name) => {
        states.set(name, await stateOf(options.checks[name]));
        isStarted ||= options.required.every((required) => states.get(required) === 'ok');
      }),
    );
    if (isClosed) return;
    timer = setTimeout(() => void poll(), isStarted ? intervalMs : startingIntervalMs);
    timer.unref();
  }
  void poll();

  return {
    current() {
      const allOk = names.every((name) => states.get(name) === 'ok');
      return {
        status: !isStarted || isDraining ? 'not_ready' : allOk ? 'ready' : 'degraded',
        checks: Object.fromEntries(states),
      };
    },
    drain() {
      isDraining = true;
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

async function stateOf(check: () => Promise<unknown>): Promise<CheckState> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<CheckState>((resolve) => {
    timer = setTimeout(() => resolve('unavailable'), checkTimeoutMs);
  });
  const checked = Promise.resolve()
    .then(check)
    .then(
      (found): CheckState => (found === 'namespace_not_found' ? found : 'ok'),
      (): CheckState => 'unavailable',
    );
  const state = await Promise.race([checked, tooLate]);
  clearTimeout(timer);
  return state;
}
