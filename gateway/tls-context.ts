import { createSecureContext, type SecureContextOptions, type Server } from 'node:tls';
import { constants } from 'node:crypto';
import type { TlsMaterial } from '../platform/tls-files.ts';

/**
 * TLS 1.2 and 1.3. What a client bundle holds is a trust anchor whether it is self-signed or not, so
 * that it may name a client's own certificate (a partial chain, X509_V_FLAG_PARTIAL_CHAIN).
 */
export function secureContextOptions(material: TlsMaterial): SecureContextOptions {
  const { certificate, key, clientBundle } = material;
  return {
    cert: certificate,
    key: key.reveal(),
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ...(clientBundle !== undefined && {
      ca: clientBundle,
      allowPartialTrustChain: true,
      // A resumed session would not look again at its client's certificate.
      secureOptions: constants.SSL_OP_NO_TICKET,
    }),
  };
}

/** The context for connections to come; those that are open keep theirs. */
export function setTlsMaterial(server: Server, material: TlsMaterial): void {
  const options = secureContextOptions(material);
  server.setSecureContext(options);
  // Node's setSecureContext forgets allowPartialTrustChain, so the context it has made is replaced by
  // one made of the same options. Tests of pinned certificates show that this holds.
  Object.assign(server, { _sharedCreds: createSecureContext(options) });
}
