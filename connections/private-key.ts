import { createPrivateKey, type KeyObject } from 'node:crypto';
import { TokenManagerError } from '../client/contract.ts';
import { Secret } from '../platform/secret.ts';

/** RFC 7518 §3.3: shorter keys must not sign RS256. */
const rsaBitsMin = 2_048;
const curves: Record<string, PrivateKeyType> = {
  prime256v1: 'P-256',
  secp384r1: 'P-384',
  secp521r1: 'P-521',
};

/** What may sign: RSA, an elliptic curve of RFC 7518 §6.2.1.1, or Ed25519 (RFC 8037). */
export type PrivateKeyType = 'RSA' | 'P-256' | 'P-384' | 'P-521' | 'Ed25519';

/** A signing key, whatever form it came in. */
export interface PrivateKey {
  /** PKCS#8 PEM. */
  pem: Secret;
  /** Name of the key at the provider, for the header of what it signs. */
  kid: string | null;
  type: PrivateKeyType;
}

/** A signing key as a caller gave it: PEM, or the JSON of a JWK (RFC 7517). */
export interface PrivateKeyInput {
  key: Secret;
  /** For PEM, which has no place for it; a JWK brings its own. */
  kid: string | null;
}

/** Throws `input_validation` at the pointer; what it says never repeats what was sent. */
export function parsePrivateKey(input: PrivateKeyInput, pointer: string): PrivateKey {
  const text = input.key.reveal();
  const jwk = parseJwk(text);
  const key = readKey(jwk ?? text);
  if (key === null) {
    throw keyFault(pointer, 'is not a private key: give PKCS#8 PEM without a password, or a JWK');
  }
  const type = typeOf(key);
  if (type === null) {
    throw keyFault(pointer, 'must be RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519');
  }
  const ownKid = typeof jwk?.['kid'] === 'string' ? jwk['kid'] : null;
  return { pem: new Secret(pemOf(key)), kid: input.kid ?? ownKid, type };
}

/** The type of key that a JWS algorithm (RFC 7518 §3.1, RFC 8037 §3.1) signs with. */
export function keyTypeOf(alg: string): PrivateKeyType | null {
  if (/^[RP]S(?:256|384|512)$/.test(alg)) return 'RSA';
  switch (alg) {
    case 'ES256':
      return 'P-256';
    case 'ES384':
      return 'P-384';
    case 'ES512':
      return 'P-521';
    case 'EdDSA':
      return 'Ed25519';
    default:
      return null;
  }
}

export function keyFault(pointer: string, detail: string): TokenManagerError {
  return new TokenManagerError('input_validation', { errors: [{ pointer, detail }] });
}

function parseJwk(text: string): Record<string, unknown> | null {
  if (!text.trimStart().startsWith('{')) return null;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function readKey(given: Record<string, unknown> | string): KeyObject | null {
  try {
    return typeof given === 'string'
      ? createPrivateKey(given)
      : createPrivateKey({ key: given, format: 'jwk' });
  } catch {
    // Messages of OpenSSL say nothing that a caller could act on.
    return null;
  }
}

function typeOf(key: KeyObject): PrivateKeyType | null {
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  const kind = key.asymmetricKeyType;
  if (kind === 'rsa') return modulusLength >= rsaBitsMin ? 'RSA' : null;
  if (kind === 'ec') return curves[namedCurve] ?? null;
  return kind === 'ed25519' ? 'Ed25519' : null;
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}
