/** A question under way, which everybody who has the same one shares. */
export interface Flight<T> {
  promise: Promise<T>;
  /** Resolves as soon as it goes on longer than it should: a first attempt failed, or too much time passed. */
  troubled: Promise<void>;
  /** Whether somebody else began it. */
  joined: boolean;
}

/**
 * At most one flight per key. Everybody shares its outcome, failures too; who stops waiting ends nothing.
 */
export class SharedFlights<T> {
  readonly #flights = new Map<string, Omit<Flight<T>, 'joined'>>();
  readonly #patienceMs: number;
  readonly #holdMs: (error: unknown) => number;

  constructor(options: {
    patienceMs: number;
    /** How long a failure is still shared with those who come after it. */
    holdMs: (error: unknown) => number;
  }) {
    this.#patienceMs = options.patienceMs;
    this.#holdMs = options.holdMs;
  }

  join(key: string, begin: (onTrouble: () => void) => Promise<T>): Flight<T> {
    const running = this.#flights.get(key);
    if (running !== undefined) return { ...running, joined: true };
    let onTrouble = (): void => undefined;
    const troubled = new Promise<void>((resolve) => (onTrouble = resolve));
    const patience = setTimeout(onTrouble, this.#patienceMs);
    const forget = (): void => {
      this.#flights.delete(key);
    };
    const promise = begin(onTrouble);
    const flight = { promise, troubled };
    this.#flights.set(key, flight);
    promise.then(
      () => {
        clearTimeout(patience);
        forget();
      },
      // Those who wait see the failure; if all have gone it is nobody's.
      (error: unknown) => {
        clearTimeout(patience);
        onTrouble();
        const holdMs = this.#holdMs(error);
        if (holdMs > 0) setTimeout(forget, holdMs).unref();
        else forget();
      },
    );
    return { ...flight, joined: false };
  }
}

/** Waits for the promise or until the signal aborts, whose reason it then throws. */
export async function waitFor<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
