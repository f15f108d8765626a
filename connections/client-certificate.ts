import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { Secret } from '../platform/secret.ts';
import { keyFault } from './private-key.ts';

const pemBlock = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** What a client shows in the TLS handshake (RFC 8705); all PEM. */
export interface ClientCertificate {
  /** The client's own certificate first, then those that vouch for it. */
  certificate: string;
  privateKey: Secret;
}

/**
 * When the first certificate ends. Throws `input_validation` with pointers under the given one, if the
 * chain or the key cannot be read, or they do not belong together.
 */
export function checkClientCertificate(given: ClientCertificate, pointer: string): Date {
  const chain = (given.certificate.match(pemBlock) ?? []).map(readCertificate);
  const [own] = chain;
  if (own === undefined || own === null || chain.includes(null)) {
    throw keyFault(`${pointer}/certificate`, 'is not a chain of PEM certificates');
  }
  const key = readPrivateKey(given.privateKey);
  if (key === null) {
    throw keyFault(`${pointer}/private_key`, 'is not a private key in PEM without a password');
  }
  if (!own.checkPrivateKey(key)) {
    throw keyFault(`${pointer}/private_key`, 'does not belong to the first certificate');
  }
  return new Date(own.validTo);
}

function readCertificate(pem: string): X509Certificate | null {
  try {
    return new X509Certificate(pem);
  } catch {
    return null;
  }
}

function readPrivateKey(pem: Secret) {
  try {
    return createPrivateKey(pem.reveal());
  } catch {
    return null;
  }
}
