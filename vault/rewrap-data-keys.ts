import type { DataKeyPurpose, DataKeyStore } from './data-key-store.ts';
import { unwrapDataKey } from './data-key-wrapping.ts';
import type { KeyProviders } from './key-provider.ts';
import { wrapAndTry } from './rotate-data-keys.ts';

export interface RewrappedKey {
  id: string;
  purpose: DataKeyPurpose;
  /** `unchanged`: that very key version wraps it already; `lost_race`: somebody else rewrapped it. */
  outcome: 'rewrapped' | 'unchanged' | 'lost_race';
  keyVersion: string;
}

/**
 * Wraps every data key, retired ones too, with what wraps new ones now. The keys themselves stay, and so
 * does everything that they seal. Idempotent. Throws a keyServiceError or `store_unavailable`; what was
 * done until then stays done.
 */
export async function rewrapDataKeys(
  { store, keyProviders }: { store: DataKeyStore; keyProviders: KeyProviders },
  limit: number,
): Promise<RewrappedKey[]> {
  const rewrapped: RewrappedKey[] = [];
  for (const before of await store.list(limit)) {
    const { id, purpose } = before;
    const plaintextKey = await unwrapDataKey(keyProviders, before);
    try {
      const after = await wrapAndTry(keyProviders, { id, purpose }, plaintextKey);
      const { keyProvider, keyVersion } = after;
      const isSame = keyProvider === before.keyProvider && keyVersion === before.keyVersion;
      const isStored = !isSame && (await store.rewrap(after, before.wrapped));
      const outcome = isSame ? 'unchanged' : isStored ? 'rewrapped' : 'lost_race';
      rewrapped.push({ id, purpose, outcome, keyVersion });
    } finally {
      plaintextKey.fill(0);
    }
  }
  return rewrapped;
}
