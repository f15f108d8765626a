import type { DataKeyRow } from './data-key-store.ts';
import type { KeyProvider, KeyProviders } from './key-provider.ts';
import { keyServiceError } from './key-service-error.ts';

export const dataKeyBytes = 32;

/** The row of a data key, which is 32 bytes; the caller wipes them. Throws a keyServiceError. */
export async function wrapDataKey(
  provider: KeyProvider,
  { id, purpose }: Pick<DataKeyRow, 'id' | 'purpose'>,
  plaintextKey: Buffer,
): Promise<DataKeyRow> {
  const wrappedKey = await provider.wrap(plaintextKey, { dataKeyId: id, purpose });
  return { id, purpose, keyProvider: provider.name, ...wrappedKey };
}

/** 32 bytes in a buffer of the caller's own, to be wiped. Throws a keyServiceError. */
export async function unwrapDataKey(providers: KeyProviders, row: DataKeyRow): Promise<Buffer> {
  const provider = providers.named(row.keyProvider);
  if (provider === undefined) {
    throw keyServiceError(
      'other_key',
      `Data key ${row.id} (${row.purpose}) was wrapped by key provider ${row.keyProvider}, and this ` +
        `process is configured with ${providers.wrapping.name}: configure the provider this database ` +
        'was used with, beside the other one if need be.',
    );
  }
  const plaintextKey = await provider.unwrap(row, { dataKeyId: row.id, purpose: row.purpose });
  if (plaintextKey.length === dataKeyBytes) return plaintextKey;
  plaintextKey.fill(0);
  throw keyServiceError(
    'damaged',
    `Data key ${row.id} (${row.purpose}) does not unwrap to ${dataKeyBytes} bytes: restore its row in ` +
      'data_keys from a backup.',
  );
}
