import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { InputFault } from '../client/contract.ts';
import { describeReadFault } from './settings.ts';
import { Secret } from './secret.ts';

/** A file and the setting that names it, for messages that say what to change. */
export interface NamedFile {
  setting: string;
  path: string;
}

/** PEM files of a listener with TLS. */
export interface TlsFiles {
  /** The server's certificate first, then those that lead to its authority. */
  certificate: NamedFile;
  key: NamedFile;
  /** Present for mutual TLS: authorities, or clients' own certificates. */
  clientBundle?: NamedFile;
}

/** What a listener needs, checked: certificate and key are a pair, the bundle holds certificates. */
export interface TlsMaterial {
  certificate: string;
  key: Secret;
  clientBundle: string | undefined;
  expiries: CertificateExpiry[];
}

export interface CertificateExpiry {
  /** Which file; bounded, so that it may label a metric. */
  role: 'server' | 'clients';
  setting: string;
  /** Of the first to expire in the file; of a server's file only the first certificate counts. */
  subject: string;
  fingerprint256: string;
  expiresAt: Date;
}

/** The text of each file, or why it could not be read. */
export type TlsContents = Partial<Record<keyof TlsFiles, string | Error>>;

export type TlsReading = { material: TlsMaterial } | { faults: InputFault[] };

const certificatePattern =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]+?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/** What the files hold now. */
export function readTlsContents(files: TlsFiles, readFile: (path: string) => string): TlsContents {
  const contents: TlsContents = {};
  for (const [name, { path }] of namedFiles(files)) {
    try {
      contents[name] = readFile(path);
    } catch (error) {
      contents[name] = error instanceof Error ? error : new Error('unreadable', { cause: error });
    }
  }
  return contents;
}

/**
 * The material, or every fault with the setting that names the file, what is wrong and what to do. No
 * fault quotes a file.
 */
export function checkTlsContents(files: TlsFiles, contents: TlsContents): TlsReading {
  const unreadable = namedFiles(files).flatMap(([name, { setting, path }]): InputFault[] => {
    const text = contents[name];
    return typeof text === 'string'
      ? []
      : [{ parameter: setting, detail: describeReadFault(path, text) }];
  });
  const texts = {
    certificate: textOf(contents.certificate),
    key: textOf(contents.key),
    clientBundle: files.clientBundle && textOf(contents.clientBundle),
  };
  const faults = [...unreadable, ...tlsFaults(files, texts)];
  return faults.length > 0 ? { faults } : { material: materialOf(files, texts) };
}

export function namedFiles(files: TlsFiles): (readonly [name: keyof TlsFiles, file: NamedFile])[] {
  const { certificate, key, clientBundle } = files;
  return [
    ['certificate', certificate],
    ['key', key],
    ...(clientBundle === undefined ? [] : [['clientBundle', clientBundle] as const]),
  ];
}

/** Undefined for a file that could not be read, of which there is nothing more to say. */
type TlsTexts = Record<keyof TlsFiles, string | undefined>;

function textOf(contents: string | Error | undefined): string | undefined {
  return typeof contents === 'string' ? contents : undefined;
}

function tlsFaults(files: TlsFiles, texts: TlsTexts): InputFault[] {
  const faults: InputFault[] = [];
  const faultOf = (file: NamedFile) => (detail: string) =>
    void faults.push({ parameter: file.setting, detail: `names the file ${file.path}, ${detail}` });

  const [leaf] = parseCertificates(texts.certificate, faultOf(files.certificate));
  const key = parseKey(texts.key, faultOf(files.key));
  if (files.clientBundle !== undefined) {
    parseCertificates(texts.clientBundle, faultOf(files.clientBundle));
  }
  if (leaf !== undefined && key !== undefined && !leaf.checkPrivateKey(key)) {
    faultOf(files.key)(
      `which is not the key of the first certificate in ${files.certificate.path} ` +
        `(${files.certificate.setting}); name the two of one pair, the server's certificate first`,
    );
  }
  if (faults.length > 0) return faults;
  try {
    createSecureContext({ cert: texts.certificate, key: texts.key, ca: texts.clientBundle });
  } catch (error) {
    // For example a key that is too short for the security level of OpenSSL.
    faultOf(files.certificate)(`which TLS cannot use (${codeOf(error)}); have it issued anew`);
  }
  return faults;
}

function materialOf(files: TlsFiles, texts: TlsTexts): TlsMaterial {
  const ignore = () => undefined;
  const [leaf] = parseCertificates(texts.certificate, ignore);
  const clients = parseCertificates(texts.clientBundle, ignore);
  return {
    certificate: texts.certificate ?? '',
    key: new Secret(texts.key ?? ''),
    // Written anew: where one follows another without a line break, OpenSSL sees the first only.
    clientBundle: files.clientBundle && clients.map((each) => each.toString()).join('\n'),
    expiries: [
      ...expiryOf('server', files.certificate, leaf === undefined ? [] : [leaf]),
      ...expiryOf('clients', files.clientBundle, clients),
    ],
  };
}

function expiryOf(
  role: CertificateExpiry['role'],
  file: NamedFile | undefined,
  certificates: X509Certificate[],
): CertificateExpiry[] {
  const [first] = certificates.toSorted((a, b) => expiresAt(a).getTime() - expiresAt(b).getTime());
  if (first === undefined || file === undefined) return [];
  return [
    {
      role,
      setting: file.setting,
      subject: first.subject.replaceAll('\n', ', '),
      fingerprint256: first.fingerprint256,
      expiresAt: expiresAt(first),
    },
  ];
}

/** Those of a file in PEM; tells `fault` why there are none, and then returns none. */
export function parseCertificates(
  pem: string | undefined,
  fault: (detail: string) => void,
): X509Certificate[] {
  if (pem === undefined) return [];
  const blocks = pem.match(certificatePattern) ?? [];
  if (blocks.length === 0) fault('which holds no certificate; name a file of certificates in PEM');
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch {
    fault('which holds a certificate that cannot be read; name a file of certificates in PEM');
    return [];
  }
}

function parseKey(pem: string | undefined, fault: (detail: string) => void): KeyObject | undefined {
  if (pem === undefined) return undefined;
  try {
    return createPrivateKey(pem);
  } catch {
    fault(
      /^-----BEGIN ENCRYPTED|^Proc-Type: 4,ENCRYPTED/m.test(pem)
        ? 'whose key is encrypted; name a file with the key in clear that only this service may read'
        : 'which holds no private key; name a file with a private key in PEM',
    );
    return undefined;
  }
}

/** `validTo` is text like `Nov 24 03:10:45 2026 GMT`, which Date reads. */
function expiresAt(certificate: X509Certificate): Date {
  return new Date(certificate.validTo);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'no reason given';
}
