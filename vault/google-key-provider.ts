import { Crc32c } from '@aws-crypto/crc32c';
import type { TokenManagerError } from '../client/contract.ts';
import type { GoogleKmsClient } from './google-kms-client.ts';
import { changedOnTheWay } from './google-kms-error.ts';
import type { KeyProvider, WrapContext } from './key-provider.ts';
import { keyServiceError } from './key-service-error.ts';

export const googleKeyProviderName = 'google-kms';
const label = 'token-manager/google-kms-wrap/1';
const versionPattern = /^(.+\/keyRings\/[^/]+\/cryptoKeys\/[^/]+)\/cryptoKeyVersions\/(\d+)$/;

export interface GoogleKeyProviderOptions {
  client: GoogleKmsClient;
  /** The crypto key that wraps: `projects/…/locations/…/keyRings/…/cryptoKeys/…`. */
  keyName: string;
  /** Further crypto keys that unwrap, beside those of the same project. */
  otherKeyNames: readonly string[];
}

/**
 * Wraps data keys by Cloud KMS. The additional authenticated data are a label, the data key's id and its
 * purpose, joined by newlines, which none of them can contain. The key version is the resource name of the
 * crypto key version that wrapped, and unwrapping asks the key it names, so that KMS_KEY_NAME may change.
 * That is another key of the same project, or one that is configured: whoever can write to the table
 * must not bring in data keys that a key of theirs has wrapped.
 *
 * CRC32C goes both ways (https://cloud.google.com/kms/docs/data-integrity-guidelines): an answer that
 * does not confirm or match its checksums is thrown away, and asked for again by the client.
 */
export function createGoogleKeyProvider(options: GoogleKeyProviderOptions): KeyProvider {
  const { client, keyName, otherKeyNames } = options;

  return {
    name: googleKeyProviderName,

    wrap(plaintextKey, context) {
      const associated = associatedData(context);
      const request = {
        name: keyName,
        plaintext: plaintextKey,
        plaintextCrc32c: { value: crc32c(plaintextKey) },
        additionalAuthenticatedData: associated,
        additionalAuthenticatedDataCrc32c: { value: crc32c(associated) },
      };
      return client.encrypt(request, { op: 'encrypt', resource: keyName }, (response) => {
        const wrapped = bytesOf(response.ciphertext);
        const isVerified =
          response.verifiedPlaintextCrc32c === true &&
          response.verifiedAdditionalAuthenticatedDataCrc32c === true;
        if (!isVerified || !matches(response.ciphertextCrc32c, wrapped)) throw changedOnTheWay();
        return { wrapped, keyVersion: `${keyName}/cryptoKeyVersions/${versionOf(response.name)}` };
      });
    },

    async unwrap({ wrapped, keyVersion }, context) {
      const wrappedBy = versionPattern.exec(keyVersion)?.[1];
      if (wrappedBy === undefined || !mayUnwrap(wrappedBy)) throw otherKey(context, keyVersion);
      const associated = associatedData(context);
      const request = {
        name: wrappedBy,
        ciphertext: wrapped,
        ciphertextCrc32c: { value: crc32c(wrapped) },
        additionalAuthenticatedData: associated,
        additionalAuthenticatedDataCrc32c: { value: crc32c(associated) },
      };
      return client.decrypt(request, { op: 'decrypt', resource: keyVersion }, (response) => {
        const plaintextKey = bytesOf(response.plaintext);
        if (matches(response.plaintextCrc32c, plaintextKey)) return plaintextKey;
        plaintextKey.fill(0);
        throw changedOnTheWay();
      });
    },
  };

  function mayUnwrap(name: string): boolean {
    return (
      name === keyName || otherKeyNames.includes(name) || projectOf(name) === projectOf(keyName)
    );
  }

  /** The service may spell the project by its number, so that only what follows is compared. */
  function versionOf(name: string | null | undefined): string {
    const [, usedKey, version] = versionPattern.exec(name ?? '') ?? [];
    if (
      usedKey === undefined ||
      version === undefined ||
      inProject(usedKey) !== inProject(keyName)
    ) {
      throw keyServiceError(
        'key_unusable',
        `Cloud KMS did not say that it wrapped with ${keyName}: look at what KMS_API_ENDPOINT names.`,
      );
    }
    return version;
  }
}

function associatedData(context: WrapContext): Buffer {
  return Buffer.from(`${label}\n${context.dataKeyId}\n${context.purpose}`);
}

function projectOf(keyName: string): string | undefined {
  return keyName.split('/')[1];
}

function inProject(keyName: string): string {
  return keyName.split('/').slice(2).join('/');
}

function crc32c(bytes: Uint8Array): number {
  return new Crc32c().update(bytes).digest();
}

/** The library gives a 64-bit integer as a string of digits. */
function matches(checksum: { value?: unknown } | null | undefined, bytes: Uint8Array): boolean {
  return checksum?.value === String(crc32c(bytes));
}

/** A copy, which the caller may wipe; what it was copied from is wiped here. */
function bytesOf(bytes: Uint8Array | string | null | undefined): Buffer {
  if (!(bytes instanceof Uint8Array)) return Buffer.alloc(0);
  const copy = Buffer.from(bytes);
  bytes.fill(0);
  return copy;
}

function otherKey(context: WrapContext, keyVersion: string): TokenManagerError {
  return keyServiceError(
    'other_key',
    `Data key ${context.dataKeyId} (${context.purpose}) was wrapped by ${keyVersion}, which is not a key ` +
      'of the project of KMS_KEY_NAME: if it is one of yours, add its key to KMS_OTHER_KEY_NAMES.',
  );
}
