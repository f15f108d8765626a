import { createSecretKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import type { SealedKind, SealedOwner } from '../../connections/token-vault.ts';
import { Secret } from '../../platform/secret.ts';
import { open, seal, sealingKeyId, type SealingKey } from '../../vault/sealed-value.ts';

// Made by another implementation (Python's cryptography) from the layout's description alone.
interface Vector {
  name: string;
  keyHex: string;
  dataKeyId: string;
  nonceHex: string;
  kind: SealedKind;
  owner: SealedOwner;
  plaintext: string;
  sealedHex: string;
}
const { sealedValues } = JSON.parse(
  readFileSync(new URL('sealed-value-vectors.json', import.meta.url), 'utf8'),
) as { sealedValues: Vector[] };

function keyOf(vector: Vector): SealingKey {
  return {
    idBytes: Buffer.from(vector.dataKeyId.replaceAll('-', ''), 'hex'),
    key: createSecretKey(Buffer.from(vector.keyHex, 'hex')),
  };
}

function failure(call: () => unknown): TokenManagerError {
  try {
    call();
  } catch (error) {
    if (error instanceof TokenManagerError) return error;
    throw error;
  }
  throw new Error('It opened.');
}

describe('the sealed format, fixed for ever', () => {
  it.each(sealedValues)('seals $name to these exact bytes', (vector) => {
    const nonce = Buffer.from(vector.nonceHex, 'hex');
    const plaintext = new Secret(vector.plaintext);
    const sealed = seal(keyOf(vector), nonce, vector.kind, vector.owner, plaintext);
    expect(sealed.toString('hex')).toBe(vector.sealedHex);
  });

  it.each(sealedValues)('opens $name', (vector) => {
    const sealed = Buffer.from(vector.sealedHex, 'hex');
    expect(sealingKeyId(sealed)).toBe(vector.dataKeyId.replaceAll('-', ''));
    expect(open(keyOf(vector), vector.kind, vector.owner, sealed).reveal()).toBe(vector.plaintext);
  });
});

describe('a sealed value does not open', () => {
  const vector = sealedValues[0];
  if (vector === undefined) throw new Error('There are no vectors.');
  const sealed = Buffer.from(vector.sealedHex, 'hex');
  const { kind, owner } = vector;
  const openAs = (as: {
    key?: SealingKey;
    kind?: SealedKind;
    owner?: Partial<SealedOwner>;
    bytes?: Buffer;
  }) =>
    failure(() =>
      open(as.key ?? keyOf(vector), as.kind ?? kind, { ...owner, ...as.owner }, as.bytes ?? sealed),
    );

  it.each([
    ['of another kind', { kind: 'refresh-token' as const }],
    ['of another tenant', { owner: { tenantId: 't2' } }],
    ['of another connection', { owner: { id: 'c2' } }],
    ['of an older generation', { owner: { generation: 0 } }],
    ['of a generation 2^32 later', { owner: { generation: 1 + 2 ** 32 } }],
    ['when a letter moves from tenant to id', { owner: { tenantId: 't', id: '1c1' } }],
  ])('for an owner %s', (_, as) => {
    expect(openAs(as).code).toBe('internal');
  });

  it('with another key under the same id', () => {
    const other = { ...keyOf(vector), key: createSecretKey(Buffer.alloc(32, 7)) };
    expect(openAs({ key: other }).code).toBe('internal');
  });

  it('with any single byte changed', () => {
    for (let at = 0; at < sealed.length; at += 1) {
      const bytes = Buffer.from(sealed);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      expect(openAs({ bytes }).code, `byte ${at}`).toBe('internal');
    }
  });

  it('truncated anywhere, or with a byte appended', () => {
    for (let length = 0; length < sealed.length; length += 1) {
      expect(openAs({ bytes: sealed.subarray(0, length) }).code, `${length} bytes`).toBe(
        'internal',
      );
    }
    expect(openAs({ bytes: Buffer.concat([sealed, Buffer.from([0])]) }).code).toBe('internal');
  });

  it('in an unknown version, whose data key id is not read either', () => {
    const bytes = Buffer.from(sealed);
    bytes.writeUInt8(2, 0);
    expect(failure(() => sealingKeyId(bytes)).code).toBe('internal');
    expect(openAs({ bytes }).message).toContain('version 1');
  });

  it('and the error tells nothing of plaintext, key or bytes', () => {
    const text = inspect(openAs({ owner: { id: 'c2' } }), { depth: 10, showHidden: true });
    for (const secret of [vector.plaintext, vector.keyHex, vector.sealedHex, 'c2']) {
      expect(text).not.toContain(secret);
    }
  });
});
