import { createHmac, randomBytes as systemRandomBytes } from 'node:crypto';
import { TokenManagerError } from '../client/contract.ts';
import type { SealedKind, SealedValue, Sealer, TokenVault } from '../connections/token-vault.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { DataKeyPurpose } from './data-key-store.ts';
import { createDataKeys, type DataKeysOptions } from './data-keys.ts';
import { nonceBytes, open, seal, sealingKeyId } from './sealed-value.ts';
import type { DataKey } from './unwrapped-keys.ts';

const purposes = {
  'access-token': 'access',
  'refresh-token': 'refresh',
  'dpop-key': 'refresh',
  'client-secrets': 'app',
  'sealed-result': 'sealed-result',
} as const satisfies Record<SealedKind, DataKeyPurpose>;

export interface VaultOptions extends DataKeysOptions {
  metrics: Pick<Metrics, 'dataKeyOperations' | 'unsealFailures'>;
}

/**
 * The vault over data keys that many values share: the key provider is asked once per data key, process
 * and hour, and PostgreSQL no more often.
 */
export function createVault(options: VaultOptions): TokenVault {
  const { metrics, randomBytes = systemRandomBytes } = options;
  const dataKeys = createDataKeys(options);

  return {
    async sealer() {
      const [access, refresh, app, sealedResult, fingerprint] = await Promise.all([
        dataKeys.current('access'),
        dataKeys.current('refresh'),
        dataKeys.current('app'),
        dataKeys.current('sealed-result'),
        dataKeys.current('fingerprint'),
      ]);
      const keys = {
        'access-token': access,
        'refresh-token': refresh,
        'dpop-key': refresh,
        'client-secrets': app,
        'sealed-result': sealedResult,
      };
      return createSealer(keys, fingerprint, randomBytes);
    },

    forgetCurrentKeys: () => dataKeys.forgetCurrent(),

    async open(kind, owner, bytes) {
      const purpose = purposes[kind];
      try {
        const keyIdHex = sealingKeyId(bytes);
        // Every read of a token comes by here: with the key in memory nothing is awaited.
        const dataKey =
          dataKeys.inMemory(keyIdHex, purpose) ?? (await dataKeys.load(keyIdHex, purpose));
        return open(dataKey, kind, owner, bytes);
      } catch (error) {
        if (isInternal(error)) metrics.unsealFailures.inc();
        throw error;
      }
    },
  };
}

function createSealer(
  keys: Record<SealedKind, DataKey>,
  fingerprintKey: DataKey,
  randomBytes: (size: number) => Buffer,
): Sealer {
  return {
    seal(kind, owner, plaintext): SealedValue {
      const dataKey = keys[kind];
      dataKey.untoldSeals += 1;
      const bytes = seal(dataKey, randomBytes(nonceBytes), kind, owner, plaintext);
      return { bytes, dataKeyId: dataKey.id };
    },
    fingerprint(refreshToken) {
      return createHmac('sha256', fingerprintKey.key)
        .update(refreshToken.reveal(), 'utf8')
        .digest();
    },
  };
}

function isInternal(error: unknown): boolean {
  return error instanceof TokenManagerError && error.code === 'internal';
}
