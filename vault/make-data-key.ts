import type { DataKeyPurpose, DataKeyRow } from './data-key-store.ts';
import { dataKeyBytes } from './data-key-wrapping.ts';
import { keyIdBytes } from './sealed-value.ts';
import { uuidFromRandom } from './uuid.ts';

/** A new random key as `wrap` wraps it; its plaintext is wiped here, and nobody has stored it yet. */
export async function makeDataKey(
  purpose: DataKeyPurpose,
  randomBytes: (size: number) => Buffer,
  wrap: (key: Pick<DataKeyRow, 'id' | 'purpose'>, plaintextKey: Buffer) => Promise<DataKeyRow>,
): Promise<DataKeyRow> {
  const id = uuidFromRandom(randomBytes(keyIdBytes));
  const plaintextKey = randomBytes(dataKeyBytes);
  try {
    return await wrap({ id, purpose }, plaintextKey);
  } finally {
    plaintextKey.fill(0);
  }
}
