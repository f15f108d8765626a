/** What a wrapping binds beside the key: a wrapped key put under another id or purpose does not unwrap. */
export interface WrapContext {
  /** A UUID in lower case. */
  dataKeyId: string;
  purpose: string;
}

export interface WrappedKey {
  wrapped: Buffer;
  /** Which version of which wrapping key: what a rotation compares, and what says how to unwrap. */
  keyVersion: string;
}

/**
 * Wraps the data keys: a cloud's key service, or a local key file. Called once per data key and
 * process, never per token. Both calls settle within a deadline of the provider's own.
 */
export interface KeyProvider {
  /** Stored beside each wrapped key and a label of metrics, such as `local`. */
  readonly name: string;
  /** `plaintextKey` is 32 bytes; the caller wipes it afterwards. Throws a keyServiceError. */
  wrap(plaintextKey: Buffer, context: WrapContext): Promise<WrappedKey>;
  /** A buffer of the caller's own, to be wiped. Throws a keyServiceError. */
  unwrap(wrappedKey: WrappedKey, context: WrapContext): Promise<Buffer>;
}

/** The key providers of a process. */
export interface KeyProviders {
  /** Wraps new data keys. */
  readonly wrapping: KeyProvider;
  /** Unwraps what the provider of this name has wrapped; undefined: it is not configured. */
  named(name: string): KeyProvider | undefined;
}

/** `others` only unwrap: while data keys move from one provider to another, both are there. */
export function createKeyProviders(
  wrapping: KeyProvider,
  others: readonly KeyProvider[] = [],
): KeyProviders {
  const byName = new Map([...others, wrapping].map((provider) => [provider.name, provider]));
  return { wrapping, named: (name) => byName.get(name) };
}
