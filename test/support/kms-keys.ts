import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const nonceBytes = 12;
const tagBytes = 16;
const versionBytes = 4;
const keyPattern = /^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[^/]+\/cryptoKeys\/[^/]+$/;

export type VersionState = 'ENABLED' | 'DISABLED' | 'DESTROY_SCHEDULED' | 'DESTROYED';

export interface KeyVersion {
  /** Resource name. */
  name: string;
  state: VersionState;
}

interface StoredVersion extends KeyVersion {
  material: Buffer;
}

interface CryptoKey {
  name: string;
  versions: StoredVersion[];
  /** Index of the primary version in `versions`. */
  primary: number;
}

/** A refusal in Cloud KMS's own words, by the name of its gRPC status. */
export class KmsRefusal extends Error {
  readonly status: 'NOT_FOUND' | 'FAILED_PRECONDITION' | 'INVALID_ARGUMENT';
  constructor(status: KmsRefusal['status'], message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * The keys of a Cloud KMS for tests: symmetric, with versions of which one is primary. What it encrypts
 * names its version, is bound to the additional data, and opens with the key that it was made with only.
 */
export function createKmsKeys(names: readonly string[]) {
  const keys = new Map<string, CryptoKey>();
  for (const name of names) {
    if (!keyPattern.test(name)) throw new Error(`Not the name of a crypto key: ${name}`);
    keys.set(name, { name, versions: [makeVersion(name, 1)], primary: 0 });
  }

  function find(name: string): CryptoKey {
    const key = keys.get(name);
    if (key === undefined) throw new KmsRefusal('NOT_FOUND', `CryptoKey ${name} not found.`);
    return key;
  }

  function findVersion(name: string): StoredVersion {
    const key = find(name.replace(/\/cryptoKeyVersions\/\d+$/, ''));
    const version = key.versions.find((each) => each.name === name);
    if (version === undefined) {
      throw new KmsRefusal('NOT_FOUND', `CryptoKeyVersion ${name} not found.`);
    }
    return version;
  }

  return {
    find,
    findVersion,

    encrypt(name: string, plaintext: Buffer, additionalData: Buffer) {
      const key = find(name);
      const version = key.versions[key.primary];
      if (version === undefined) throw new Error('A key always has a primary version.');
      requireEnabled(version);
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv('aes-256-gcm', version.material, nonce);
      cipher.setAAD(additionalData);
      const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()]);
      const index = Buffer.alloc(versionBytes);
      index.writeUInt32BE(key.primary);
      const ciphertext = Buffer.concat([index, nonce, cipher.getAuthTag(), sealed]);
      return { name: version.name, ciphertext };
    },

    decrypt(name: string, ciphertext: Buffer, additionalData: Buffer): Buffer {
      const key = find(name);
      const nonceAt = versionBytes;
      const tagAt = nonceAt + nonceBytes;
      const sealedAt = tagAt + tagBytes;
      const version =
        ciphertext.length < sealedAt ? undefined : key.versions[ciphertext.readUInt32BE(0)];
      if (version === undefined) throw cannotDecrypt();
      requireEnabled(version);
      const nonce = ciphertext.subarray(nonceAt, tagAt);
      const decipher = createDecipheriv('aes-256-gcm', version.material, nonce);
      decipher.setAAD(additionalData);
      decipher.setAuthTag(ciphertext.subarray(tagAt, sealedAt));
      try {
        return Buffer.concat([decipher.update(ciphertext.subarray(sealedAt)), decipher.final()]);
      } catch {
        throw cannotDecrypt();
      }
    },

    /** It does not become primary by that, as in Cloud KMS. */
    createVersion(name: string): KeyVersion {
      const key = find(name);
      const version = makeVersion(name, key.versions.length + 1);
      key.versions.push(version);
      return version;
    },

    setPrimary(name: string, versionId: string): void {
      const key = find(name);
      const version = findVersion(`${name}/cryptoKeyVersions/${versionId}`);
      requireEnabled(version);
      key.primary = key.versions.indexOf(version);
    },

    setState(name: string, state: VersionState): KeyVersion {
      const version = findVersion(name);
      version.state = state;
      if (state === 'DESTROYED') version.material.fill(0);
      return version;
    },
  };
}

export type KmsKeys = ReturnType<typeof createKmsKeys>;

function makeVersion(keyName: string, number: number): StoredVersion {
  return {
    name: `${keyName}/cryptoKeyVersions/${number}`,
    state: 'ENABLED',
    material: randomBytes(32),
  };
}

function requireEnabled({ name, state }: KeyVersion): void {
  if (state === 'ENABLED') return;
  throw new KmsRefusal(
    'FAILED_PRECONDITION',
    `${name} is not enabled, current state is: ${state}.`,
  );
}

function cannotDecrypt(): KmsRefusal {
  return new KmsRefusal(
    'INVALID_ARGUMENT',
    "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
  );
}
