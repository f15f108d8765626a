import { createCurrentDataKeys } from './current-data-keys.ts';
import { createDataKeyStore, type DataKeyPurpose, type Queryable } from './data-key-store.ts';
import { createKeyService, type KeyServiceOptions } from './key-service.ts';
import { doesNotOpen } from './sealed-value.ts';
import { createSingleFlight } from './single-flight.ts';
import { createUnwrappedKeys, type DataKey } from './unwrapped-keys.ts';
import { uuidFromHex } from './uuid.ts';

/** Data keys, unwrapped on first need and kept in memory. */
export interface DataKeys {
  /**
   * The key with this id, 32 hex digits, if it is in memory and has this purpose: the read path,
   * which must not wait.
   */
  inMemory(keyIdHex: string, purpose: DataKeyPurpose): DataKey | undefined;
  /**
   * The same, read and unwrapped if need be. Throws `internal` when no such key has this purpose,
   * `store_unavailable`, `key_service_unavailable`.
   */
  load(keyIdHex: string, purpose: DataKeyPurpose): Promise<DataKey>;
  /**
   * The key that seals new values; the first process that needs one makes it, and all agree on it. One
   * that is used up is replaced. Known ones go on being used while PostgreSQL or the key service is
   * away. Throws `store_unavailable`, `key_service_unavailable`.
   */
  current(purpose: DataKeyPurpose): Promise<DataKey>;
  /** The next call for each current key asks which one it is now. */
  forgetCurrent(): void;
}

export interface DataKeysOptions extends KeyServiceOptions {
  /** A pg Pool over a migrated database. */
  pool: Queryable;
  /** Keys, ids and nonces; the system's unless a test needs it otherwise. */
  randomBytes?: (size: number) => Buffer;
}

export function createDataKeys(options: DataKeysOptions): DataKeys {
  const { pool, clock, randomBytes } = options;
  const store = createDataKeyStore(pool);
  const keyService = createKeyService(options);
  const unwrapped = createUnwrappedKeys({ store, keyService, clock });
  const currentKeys = createCurrentDataKeys({ store, keyService, unwrapped, clock, randomBytes });
  const loads = createSingleFlight<DataKey>();

  function inMemory(keyIdHex: string, purpose: DataKeyPurpose): DataKey | undefined {
    const dataKey = unwrapped.get(keyIdHex);
    return dataKey?.purpose === purpose ? dataKey : undefined;
  }

  async function readAndUnwrap(keyIdHex: string, purpose: DataKeyPurpose): Promise<DataKey> {
    const row = await store.findById(uuidFromHex(keyIdHex));
    // No key of this id, or one of another purpose, can only mean that the sealed bytes were changed.
    if (row?.purpose !== purpose) throw doesNotOpen();
    return unwrapped.unwrap(row);
  }

  return {
    inMemory,
    load: async (keyIdHex, purpose) =>
      inMemory(keyIdHex, purpose) ??
      loads(`${purpose} ${keyIdHex}`, () => readAndUnwrap(keyIdHex, purpose)),
    current: currentKeys.current,
    forgetCurrent: currentKeys.forget,
  };
}
