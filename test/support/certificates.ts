import { randomUUID } from 'node:crypto';
import { isIP } from 'node:net';
import { generate } from 'selfsigned';

/** A server's or client's key pair and the authority that vouches for it, all PEM. */
export interface ServerCertificates {
  authority: string;
  key: string;
  cert: string;
}

/** Makes an authority and has it certify a server of these names and addresses, or a client so named. */
export async function issueCertificates(names: string[]): Promise<ServerCertificates> {
  // A name of its own: OpenSSL looks for the issuer by its name.
  const name = `Test authority ${randomUUID()}`;
  const authority = await generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true },
    ],
  });
  const server = await generate([{ name: 'commonName', value: names[0] ?? 'localhost' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    ca: { key: authority.private, cert: authority.cert },
    extensions: [
      { name: 'basicConstraints', cA: false },
      { name: 'keyUsage', digitalSignature: true },
      { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
      {
        name: 'subjectAltName',
        altNames: names.map((name) =>
          isIP(name) === 0 ? { type: 2, value: name } : { type: 7, ip: name },
        ),
      },
    ],
  });
  return { authority: authority.cert, key: server.private, cert: server.cert };
}
