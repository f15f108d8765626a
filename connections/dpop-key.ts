import type { Secret } from '../platform/secret.ts';
import { keyFault, parsePrivateKey, type PrivateKey } from './private-key.ts';
import type { SealedValue } from './token-vault.ts';

const pointer = '/dpop_key';

/** The key as it is sealed, PKCS#8 PEM. Throws `input_validation`. */
export function parseDpopKey(given: Secret): Secret {
  const { pem, type } = parsePrivateKey({ key: given, kid: null }, pointer);
  if (type !== 'RSA' && type !== 'P-256') throw keyFault(pointer, 'must be P-256 or RSA');
  return pem;
}

/** Throws `input_validation` when the provider wants proofs of possession and there is no key for them. */
export function requireDpopKey(held: SealedValue | null): void {
  if (held === null) throw keyFault(pointer, 'is required by the provider');
}

/** Reads what was sealed. */
export function openedDpopKey(opened: Secret): PrivateKey {
  return parsePrivateKey({ key: opened, kid: null }, pointer);
}
