const burst = 10;
const retriesPerAnswer = 0.1;

/**
 * How many retries a client may make: ten, and one more for every ten answers. While a service is in trouble
 * its clients then add at most a tenth to what they ask of it anyway.
 */
export class RetryBudget {
  #left = burst;

  /** For a request that went well. */
  deposit(): void {
    this.#left = Math.min(this.#left + retriesPerAnswer, burst);
  }

  /** Whether one more retry may be made, which it then counts. */
  take(): boolean {
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
