import { inspect } from 'node:util';

const redacted = '[redacted]';

/**
 * A token or key in memory. It prints as `[redacted]` in logs, JSON, templates and inspect; the only
 * way to its value is `reveal`, called in vault/, at the token endpoint in oauth/, and in the token
 * route.
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself. Hand it on at once and keep no copy. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return redacted;
  }

  toJSON(): string {
    return redacted;
  }

  [inspect.custom](): string {
    return redacted;
  }
}
