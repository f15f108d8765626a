const failuresBeforeClosing = 2;
const firstPauseMs = 1_000;
const maxPauseMs = 8_000;

/**
 * Whether the gateway answers at all. After two requests in a row without an answer the gate closes: all
 * questions wait, and one of them after a pause, doubling from 1 to 8 s, tries whether it is back.
 * So a client asks a gateway that is away less often than one that answers.
 */
export class GatewayGate {
  readonly #nowMs: () => number;
  readonly #random: () => number;
  readonly #onChange: (isAway: boolean) => void;
  #failures = 0;
  #failedAtMs = -Infinity;
  #opensAtMs = -Infinity;
  #isProbing = false;
  #waiting: (() => void)[] = [];

  constructor(options: {
    nowMs: () => number;
    random: () => number;
    onChange: (isAway: boolean) => void;
  }) {
    this.#nowMs = options.nowMs;
    this.#random = options.random;
    this.#onChange = options.onChange;
  }

  get isClosed(): boolean {
    return this.#failures >= failuresBeforeClosing;
  }

  /** Waits until a request may be sent; false: not before the deadline. */
  async pass(deadlineMs: number, signal: AbortSignal): Promise<boolean> {
    while (!this.#admits()) {
      if (this.#opensAtMs >= deadlineMs || signal.aborted) return false;
      const untilMs = this.#isProbing ? deadlineMs : this.#opensAtMs;
      if (this.#nowMs() >= deadlineMs) return false;
      await this.#change(untilMs - this.#nowMs(), signal);
    }
    return true;
  }

  /** An answer of any kind. */
  answered(): void {
    const wasClosed = this.isClosed;
    this.#failures = 0;
    this.#isProbing = false;
    this.#opensAtMs = -Infinity;
    if (wasClosed) this.#onChange(false);
    this.#wake();
  }

  /** No answer to a request that was sent then. */
  failed(sentAtMs: number): void {
    // Requests that were under way together fail together: that is one failure.
    if (sentAtMs < this.#failedAtMs) return;
    const wasClosed = this.isClosed;
    this.#failures += 1;
    this.#failedAtMs = this.#nowMs();
    this.#isProbing = false;
    if (!this.isClosed) return;
    const doublings = this.#failures - failuresBeforeClosing;
    const pauseMs = Math.min(firstPauseMs * 2 ** doublings, maxPauseMs);
    this.#opensAtMs = this.#nowMs() + pauseMs * (0.5 + this.#random() / 2);
    if (!wasClosed) this.#onChange(true);
    this.#wake();
  }

  /** What was let through was not sent after all. */
  abandoned(): void {
    this.#isProbing = false;
    this.#wake();
  }

  #admits(): boolean {
    if (!this.isClosed) return true;
    if (this.#isProbing || this.#nowMs() < this.#opensAtMs) return false;
    this.#isProbing = true;
    return true;
  }

  #change(limitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, limitMs);
      signal.addEventListener('abort', done, { once: true });
      this.#waiting.push(done);
    });
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
