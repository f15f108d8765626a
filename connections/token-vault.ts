import type { Secret } from '../platform/secret.ts';

/** What a sealed value is; part of what its seal binds, so that one kind never opens as another. */
export type SealedKind =
  | 'access-token'
  | 'refresh-token'
  | 'dpop-key'
  /** All credentials of an app; the name is that of what it held first, and the seal binds it. */
  | 'client-secrets'
  | 'sealed-result';

/**
 * The generation in the seal of a DPoP key: always this one, for a refresh raises the connection's
 * generation and seals the tokens anew, but leaves the key, which only a PUT replaces.
 */
export const dpopKeyGeneration = 0;

/**
 * Whose value it is: the tenant and connection, or for client secrets the app (tenant `''`). The seal
 * binds it, so that a value moved to another row, or put back from an older generation, does not open.
 */
export interface SealedOwner {
  tenantId: string;
  id: string;
  generation: number;
}

export interface SealedValue {
  bytes: Buffer;
  /** The data key that seals it, a UUID: also inside the bytes, here for the foreign key. */
  dataKeyId: string;
}

/** Data keys in memory: sealing with it does no I/O and asks no key service. */
export interface Sealer {
  seal(kind: SealedKind, owner: SealedOwner, plaintext: Secret): SealedValue;
  /** Keyed HMAC-SHA-256 of a refresh token, 32 bytes, the same in every process and for ever. */
  fingerprint(refreshToken: Secret): Buffer;
}

/** What the stores ask of vault/. */
export interface TokenVault {
  /**
   * Brings the current data key of every purpose into memory (P3: before anything is spent).
   * Throws `key_service_unavailable`, or `store_unavailable` when the keys cannot be read.
   */
  sealer(): Promise<Sealer>;
  /** The next sealer asks which data keys are current now; for whoever must not trail a rotation. */
  forgetCurrentKeys(): void;
  /**
   * Throws `internal` if the bytes do not open for this owner, `key_service_unavailable`, or
   * `store_unavailable` when the data key is neither in memory nor to be had.
   */
  open(kind: SealedKind, owner: SealedOwner, bytes: Buffer): Promise<Secret>;
}
