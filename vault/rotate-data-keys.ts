import { randomBytes as systemRandomBytes } from 'node:crypto';
import type { DataKeyRow, DataKeyStore, ReplaceablePurpose } from './data-key-store.ts';
import { unwrapDataKey, wrapDataKey } from './data-key-wrapping.ts';
import type { KeyProviders } from './key-provider.ts';
import { keyServiceError } from './key-service-error.ts';
import { makeDataKey } from './make-data-key.ts';

export interface RotatedKey {
  purpose: ReplaceablePurpose;
  /** Of the new key. */
  id: string;
  /** Somebody else has rotated at the same moment: the current key is theirs, and as new. */
  isTheirs: boolean;
}

/**
 * New data keys, current from now on: processes seal with them within minutes, and go on opening what
 * the old ones have sealed. Nothing is retired before every new key was wrapped and unwrapped again.
 * Throws `key_service_unavailable`, `store_unavailable`; after the latter some purposes may be done.
 */
export async function rotateDataKeys(
  dependencies: {
    store: Pick<DataKeyStore, 'findCurrent' | 'insertCurrent' | 'replaceCurrent'>;
    keyProviders: KeyProviders;
    randomBytes?: (size: number) => Buffer;
  },
  purposes: readonly ReplaceablePurpose[],
): Promise<RotatedKey[]> {
  const { store, keyProviders, randomBytes = systemRandomBytes } = dependencies;
  const made: { purpose: ReplaceablePurpose; row: DataKeyRow }[] = [];
  for (const purpose of purposes) {
    const row = await makeDataKey(purpose, randomBytes, (key, plaintextKey) =>
      wrapAndTry(keyProviders, key, plaintextKey),
    );
    made.push({ purpose, row });
  }
  const rotated: RotatedKey[] = [];
  for (const { purpose, row } of made) {
    const replaced = await store.findCurrent(purpose);
    if (replaced === undefined) await store.insertCurrent(row);
    else await store.replaceCurrent(replaced.id, row);
    const current = await store.findCurrent(purpose);
    rotated.push({ purpose, id: row.id, isTheirs: current?.id !== row.id });
  }
  return rotated;
}

/**
 * Wraps a data key by the provider that wraps, and unwraps it again: who may do the one but not the
 * other would make keys whose values nobody can read. Throws a keyServiceError.
 */
export async function wrapAndTry(
  keyProviders: KeyProviders,
  key: Pick<DataKeyRow, 'id' | 'purpose'>,
  plaintextKey: Buffer,
): Promise<DataKeyRow> {
  const row = await wrapDataKey(keyProviders.wrapping, key, plaintextKey);
  const unwrapped = await unwrapDataKey(keyProviders, row);
  const isSame = unwrapped.equals(plaintextKey);
  unwrapped.fill(0);
  if (isSame) return row;
  throw keyServiceError(
    'damaged',
    `Key provider ${keyProviders.wrapping.name} does not unwrap to what it wrapped: look at what it is configured with.`,
  );
}
