import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import type { PrivateKey } from '../connections/private-key.ts';

type ImportParams =
  webcrypto.RsaHashedImportParams | webcrypto.EcKeyImportParams | { name: string };

/** A key for one JWS algorithm; null: the key is not of its kind. Never rejects. */
export async function importSigningKey(
  key: PrivateKey,
  alg: string,
): Promise<webcrypto.CryptoKey | null> {
  const der = createPrivateKey(key.pem.reveal()).export({ type: 'pkcs8', format: 'der' });
  try {
    return await webcrypto.subtle.importKey('pkcs8', der, importParams(alg), false, ['sign']);
  } catch {
    return null;
  }
}

/** The same with its public half, which proofs of possession carry. */
export async function importKeyPair(
  key: PrivateKey,
  alg: string,
): Promise<webcrypto.CryptoKeyPair | null> {
  const privateKey = await importSigningKey(key, alg);
  if (privateKey === null) return null;
  const der = createPublicKey(key.pem.reveal()).export({ type: 'spki', format: 'der' });
  const params = importParams(alg);
  const publicKey = await webcrypto.subtle.importKey('spki', der, params, true, ['verify']);
  return { privateKey, publicKey };
}

/** JWS algorithms (RFC 7518 §3.1, RFC 8037 §3.1) in the words of WebCrypto. */
function importParams(alg: string): ImportParams {
  const hash = `SHA-${alg.slice(2)}`;
  if (alg.startsWith('RS')) return { name: 'RSASSA-PKCS1-v1_5', hash };
  if (alg.startsWith('PS')) return { name: 'RSA-PSS', hash };
  if (alg === 'EdDSA') return { name: 'Ed25519' };
  return { name: 'ECDSA', namedCurve: alg === 'ES512' ? 'P-521' : `P-${alg.slice(2)}` };
}
