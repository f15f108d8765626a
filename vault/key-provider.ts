/** What a wrapping binds beside the key: a wrapped key put under another id or purpose does not unwrap. */
export interface WrapContext {
  /** A UUID in lower case. */
  dataKeyId: string;
  purpose: string;
}

export interface WrappedKey {
  wrapped: Buffer;
  /** Which version of the wrapping key: what a rotation compares. At most 255 characters. */
  keyVersion: string;
}

/**
 * Wraps the data keys: a cloud's key service, or a local key file. Called once per data key and
 * process, never per token. Both calls settle within a deadline of the provider's own.
 */
export interface KeyProvider {
  /** Stored beside each wrapped key and a label of metrics, such as `local`. */
  readonly name: string;
  /** `plaintextKey` is 32 bytes; the caller wipes it afterwards. Throws `key_service_unavailable`. */
  wrap(plaintextKey: Buffer, context: WrapContext): Promise<WrappedKey>;
  /** A buffer of the caller's own, to be wiped. Throws `key_service_unavailable`. */
  unwrap(wrappedKey: WrappedKey, context: WrapContext): Promise<Buffer>;
}
