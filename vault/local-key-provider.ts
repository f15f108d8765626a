import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  randomBytes as systemRandomBytes,
  type KeyObject,
} from 'node:crypto';
import type { TokenManagerError } from '../client/contract.ts';
import type { KeyProvider, WrapContext } from './key-provider.ts';
import { keyServiceError } from './key-service-error.ts';

export const localKeyProviderName = 'local';
/** Length of a wrapping key. */
export const localKeyBytes = 32;
const cipher = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;
const label = 'token-manager/local-wrap/1';
const fingerprintHexDigits = 16;

/**
 * Wraps data keys with a key that lies in a file: for development and for installations without a
 * cloud, where whoever reads the file and the database reads the tokens.
 *
 * Wrapped: nonce (12 bytes), tag (16), ciphertext, AES-256-GCM; associated data: a label, the data
 * key's id and its purpose, joined by newlines, which none of them can contain. The key version is a
 * fingerprint of the wrapping key, so that a wrong file is told from a damaged row.
 */
export function createLocalKeyProvider(
  wrappingKey: KeyObject,
  randomBytes: (size: number) => Buffer = systemRandomBytes,
): KeyProvider {
  const keyVersion = fingerprint(wrappingKey);
  return {
    name: localKeyProviderName,
    wrap(plaintextKey, context) {
      const nonce = randomBytes(nonceBytes);
      const encipher = createCipheriv(cipher, wrappingKey, nonce, { authTagLength: tagBytes });
      encipher.setAAD(associatedData(context));
      const ciphertext = Buffer.concat([encipher.update(plaintextKey), encipher.final()]);
      const wrapped = Buffer.concat([nonce, encipher.getAuthTag(), ciphertext]);
      return Promise.resolve({ wrapped, keyVersion });
    },
    unwrap(wrappedKey, context) {
      if (wrappedKey.keyVersion !== keyVersion) {
        return Promise.reject(wrongKeyFile(wrappedKey.keyVersion, keyVersion));
      }
      const nonce = wrappedKey.wrapped.subarray(0, nonceBytes);
      const tag = wrappedKey.wrapped.subarray(nonceBytes, nonceBytes + tagBytes);
      const ciphertext = wrappedKey.wrapped.subarray(nonceBytes + tagBytes);
      try {
        const decipher = createDecipheriv(cipher, wrappingKey, nonce, { authTagLength: tagBytes });
        decipher.setAAD(associatedData(context));
        decipher.setAuthTag(tag);
        return Promise.resolve(Buffer.concat([decipher.update(ciphertext), decipher.final()]));
      } catch (cause) {
        return Promise.reject(damagedRow(context, cause));
      }
    },
  };
}

/** Parses the contents of a key file: 32 bytes in base64, white space around them ignored. */
export function parseLocalKey(contents: string): KeyObject | undefined {
  const text = contents.trim();
  const bytes = Buffer.from(text, 'base64');
  // Node skips what is not base64; only a text that encodes back to itself is taken.
  if (bytes.length !== localKeyBytes || bytes.toString('base64') !== text) return undefined;
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

function associatedData(context: WrapContext): Buffer {
  return Buffer.from(`${label}\n${context.dataKeyId}\n${context.purpose}`);
}

/** 64 bits of a hash: enough to tell key files apart, and no way back to a random key. */
function fingerprint(wrappingKey: KeyObject): string {
  const hash = createHash('sha256').update(label).update(wrappingKey.export()).digest('hex');
  return `sha256:${hash.slice(0, fingerprintHexDigits)}`;
}

function wrongKeyFile(stored: string, ours: string): TokenManagerError {
  return keyServiceError(
    'other_key',
    `The local key file (${ours}) is not the one that wrapped this data key (${stored}): ` +
      'point LOCAL_KEY_FILE at the file this database was used with; do not make a new one.',
  );
}

function damagedRow(context: WrapContext, cause: unknown): TokenManagerError {
  return keyServiceError(
    'damaged',
    `Data key ${context.dataKeyId} (${context.purpose}) was wrapped by this local key file but ` +
      'does not unwrap: its row in data_keys was changed or damaged; restore it from a backup.',
    cause,
  );
}
