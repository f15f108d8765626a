import { TokenManagerError } from '../client/contract.ts';

/** Why a data key could not be wrapped or unwrapped: the `outcome` of `data_key_operations_total`. */
export type KeyServiceReason =
  /** No answer in time, or one that says to try again. */
  | 'unavailable'
  | 'quota_exceeded'
  /** This process has no credentials that the service takes. */
  | 'unauthenticated'
  | 'permission_denied'
  | 'key_not_found'
  | 'key_disabled'
  /** Or about to be: its material is there until then. */
  | 'key_destroyed'
  /** The service has the key and says that it is not one for this. */
  | 'key_unusable'
  /** Wrapped by a key that this process is not configured with. */
  | 'other_key'
  /** Wrapped by this key, and does not unwrap: what is stored was changed. */
  | 'damaged'
  /** Changed on the way; asked again in vain. */
  | 'checksum_mismatch';

/** `detail` reads `what: what to do`; it is for the log and `doctor`, and never holds a key. */
export function keyServiceError(
  reason: KeyServiceReason,
  detail: string,
  cause?: unknown,
): TokenManagerError {
  return new TokenManagerError('key_service_unavailable', { reason, detail, cause });
}

/** For the metric: also of an error that no key provider foresaw. */
export function outcomeOf(error: unknown): string {
  return error instanceof TokenManagerError ? (error.reason ?? error.code) : 'unavailable';
}
