import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';
import { TokenManagerError } from '../client/contract.ts';
import type { SealedKind, SealedOwner } from '../connections/token-vault.ts';
import { Secret } from '../platform/secret.ts';

/*
 * The sealed value. This layout is fixed for ever: values in this form lie in databases, backups and
 * Temporal histories. Another layout takes another version byte, and version 1 stays readable.
 *
 *   offset  bytes  what
 *   0       1      version, 0x01
 *   1       16     id of the data key: the bytes of its UUID
 *   17      12     nonce, random for each sealing
 *   29      16     tag of AES-256-GCM
 *   45      n      ciphertext of the UTF-8 plaintext
 *
 * The associated data is five fields in this order, each a length (unsigned 32 bit, big endian) and
 * that many bytes, so that no two owners spell the same bytes:
 *
 *   label       ASCII `token-manager/sealed-value/1`
 *   kind        ASCII, a SealedKind such as `access-token`
 *   tenant id   UTF-8; empty for an app
 *   owner id    UTF-8, the connection or the app
 *   generation  8 bytes, unsigned 64 bit, big endian
 *
 * Test vectors: test/vault/sealed-value-vectors.json.
 */
const version = 1;
const label = 'token-manager/sealed-value/1';
const cipher = 'aes-256-gcm';
export const keyIdBytes = 16;
export const nonceBytes = 12;
const tagBytes = 16;
const keyIdAt = 1;
const nonceAt = keyIdAt + keyIdBytes;
const tagAt = nonceAt + nonceBytes;
const ciphertextAt = tagAt + tagBytes;
const lengthBytes = 4;
const generationBytes = 8;

/** A random key of 32 bytes, and the 16 bytes of its UUID. */
export interface SealingKey {
  idBytes: Buffer;
  key: KeyObject;
}

/** AES-256-GCM (NIST SP 800-38D). The nonce is 12 bytes and must never be used twice with one key. */
export function seal(
  sealingKey: SealingKey,
  nonce: Buffer,
  kind: SealedKind,
  owner: SealedOwner,
  plaintext: Secret,
): Buffer {
  const encipher = createCipheriv(cipher, sealingKey.key, nonce, { authTagLength: tagBytes });
  encipher.setAAD(associatedData(kind, owner));
  const ciphertext = encipher.update(plaintext.reveal(), 'utf8');
  // GCM is a stream mode: final() returns no bytes, it only completes the tag.
  encipher.final();
  const header = Buffer.from([version]);
  return Buffer.concat([header, sealingKey.idBytes, nonce, encipher.getAuthTag(), ciphertext]);
}

/**
 * Throws `internal` when the bytes are not a sealed value of version 1, or do not open with this key
 * for this kind and owner. The error never says more: what failed is the same for every cause.
 */
export function open(
  sealingKey: SealingKey,
  kind: SealedKind,
  owner: SealedOwner,
  bytes: Buffer,
): Secret {
  assertLayout(bytes);
  if (bytes.compare(sealingKey.idBytes, 0, keyIdBytes, keyIdAt, nonceAt) !== 0) throw doesNotOpen();
  const nonce = bytes.subarray(nonceAt, tagAt);
  const decipher = createDecipheriv(cipher, sealingKey.key, nonce, { authTagLength: tagBytes });
  decipher.setAAD(associatedData(kind, owner));
  decipher.setAuthTag(bytes.subarray(tagAt, ciphertextAt));
  const plaintext = decipher.update(bytes.subarray(ciphertextAt));
  try {
    decipher.final();
  } catch {
    // The plaintext is not authentic: it is dropped unread, and the cause says nothing of use.
    throw doesNotOpen();
  }
  return new Secret(plaintext.toString('utf8'));
}

/** The data key that seals these bytes, as 32 hex digits. Throws `internal` as `open` does. */
export function sealingKeyId(bytes: Buffer): string {
  assertLayout(bytes);
  return bytes.toString('hex', keyIdAt, nonceAt);
}

/** The one error for a value that cannot be opened. */
export function doesNotOpen(): TokenManagerError {
  return new TokenManagerError('internal', {
    detail: 'A sealed value does not open for its owner.',
  });
}

function assertLayout(bytes: Buffer): void {
  if (bytes.length < ciphertextAt || bytes[0] !== version) {
    throw new TokenManagerError('internal', {
      detail: `A sealed value is truncated or not of version ${version}.`,
    });
  }
}

function associatedData(kind: SealedKind, owner: SealedOwner): Buffer {
  const tenantBytes = Buffer.byteLength(owner.tenantId);
  const idBytes = Buffer.byteLength(owner.id);
  const data = Buffer.allocUnsafe(
    5 * lengthBytes + label.length + kind.length + tenantBytes + idBytes + generationBytes,
  );
  let at = writeField(data, 0, label, label.length);
  at = writeField(data, at, kind, kind.length);
  at = writeField(data, at, owner.tenantId, tenantBytes);
  at = writeField(data, at, owner.id, idBytes);
  at = data.writeUInt32BE(generationBytes, at);
  // A generation is a safe integer, so its upper half fits 32 bits; a BigInt would cost the read path.
  at = data.writeUInt32BE(Math.floor(owner.generation / 2 ** 32), at);
  data.writeUInt32BE(owner.generation % 2 ** 32, at);
  return data;
}

function writeField(data: Buffer, at: number, text: string, lengthInBytes: number): number {
  const textAt = data.writeUInt32BE(lengthInBytes, at);
  return textAt + data.write(text, textAt, lengthInBytes, 'utf8');
}
