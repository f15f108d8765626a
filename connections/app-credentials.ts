import { Secret } from '../platform/secret.ts';
import type { AppInput } from './app.ts';
import type { ClientCertificate } from './client-certificate.ts';
import { parsePrivateKey, type PrivateKey, type PrivateKeyType } from './private-key.ts';

/** By what an app shows a provider that it is itself; sealed together in one value. */
export interface AppCredentials {
  /** In the order in which they are tried. */
  clientSecrets: Secret[];
  /** Signs client assertions (RFC 7523). */
  privateKey: PrivateKey | null;
  /** Shown in the TLS handshake (RFC 8705). */
  clientCertificate: ClientCertificate | null;
}

/** The JSON inside the seal; this file alone writes and reads it. */
interface SealedForm {
  client_secrets: string[];
  private_key: { pem: string; kid: string | null; type: PrivateKeyType } | null;
  client_certificate: { certificate: string; private_key: string } | null;
}

export function noCredentials(): AppCredentials {
  return { clientSecrets: [], privateKey: null, clientCertificate: null };
}

export function bringsCredentials(input: AppInput): boolean {
  const { clientSecrets, privateKey, clientCertificate } = input;
  return clientSecrets !== undefined || privateKey !== undefined || clientCertificate !== undefined;
}

/** The stored credentials with those of a body in their places. Throws `input_validation`. */
export function replaceCredentials(input: AppInput, kept: AppCredentials): AppCredentials {
  const { clientSecrets, privateKey, clientCertificate } = input;
  return {
    clientSecrets: clientSecrets ?? kept.clientSecrets,
    privateKey:
      privateKey === undefined
        ? kept.privateKey
        : privateKey && parsePrivateKey(privateKey, '/private_key'),
    clientCertificate: clientCertificate === undefined ? kept.clientCertificate : clientCertificate,
  };
}

/** What goes under the seal of the kind `client-secrets`. */
export function formatAppCredentials(credentials: AppCredentials): Secret {
  const { privateKey, clientCertificate } = credentials;
  const form: SealedForm = {
    client_secrets: credentials.clientSecrets.map((secret) => secret.reveal()),
    private_key: privateKey && {
      pem: privateKey.pem.reveal(),
      kid: privateKey.kid,
      type: privateKey.type,
    },
    client_certificate: clientCertificate && {
      certificate: clientCertificate.certificate,
      private_key: clientCertificate.privateKey.reveal(),
    },
  };
  return new Secret(JSON.stringify(form));
}

/** Reads what the seal held; a plain list of client secrets, as it was written first, too. */
export function parseAppCredentials(opened: Secret): AppCredentials {
  // Only `formatAppCredentials` writes it, and the seal vouches that nobody else did.
  const stored = JSON.parse(opened.reveal()) as SealedForm | string[];
  if (Array.isArray(stored)) return { ...noCredentials(), clientSecrets: stored.map(toSecret) };
  const { private_key: key, client_certificate: certificate } = stored;
  return {
    clientSecrets: stored.client_secrets.map(toSecret),
    privateKey: key && { ...key, pem: new Secret(key.pem) },
    clientCertificate: certificate && {
      certificate: certificate.certificate,
      privateKey: new Secret(certificate.private_key),
    },
  };
}

function toSecret(value: string): Secret {
  return new Secret(value);
}
