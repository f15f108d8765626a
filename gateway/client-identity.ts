import type { X509Certificate } from 'node:crypto';
import type { ClientIdentity } from './gateway-env.ts';

/**
 * The URIs and DNS names of a certificate, each of which may match, and without any its CN, typed: `uri:`,
 * `dns:` (in lower case, RFC 4343), `cn:`. Names with control characters name nobody.
 */
export function identityOfCertificate(certificate: X509Certificate): ClientIdentity {
  const alternatives = namesOf(certificate.subjectAltName ?? '');
  const names = alternatives?.length === 0 ? commonNames(certificate) : (alternatives ?? []);
  return { subjects: names.filter(isPrintable) };
}

/**
 * Node prints alternative names as `DNS:a, URI:b`, and as a JSON string what could be mistaken for the
 * separator: `DNS:"a, DNS:b"` is one name (CVE-2021-44532).
 */
const namePattern = /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?=, |$)/gy;

/** Undefined where the text cannot be read to its end: that names nobody, rather than somebody else. */
function namesOf(subjectAltName: string): string[] | undefined {
  const names: string[] = [];
  let readTo = 0;
  for (const match of subjectAltName.matchAll(namePattern)) {
    const [whole, type, printed = ''] = match;
    readTo = match.index + whole.length;
    const value = printed.startsWith('"') ? String(JSON.parse(printed)) : printed;
    if (value === '') continue;
    if (type === 'URI') names.push(`uri:${value}`);
    else if (type === 'DNS') names.push(`dns:${value.toLowerCase()}`);
  }
  return readTo === subjectAltName.length ? names : undefined;
}

function commonNames(certificate: X509Certificate): string[] {
  const { CN } = certificate.toLegacyObject().subject as { CN?: string | string[] };
  return [CN ?? []].flat().map((name) => `cn:${name}`);
}

function isPrintable(name: string): boolean {
  // eslint-disable-next-line no-control-regex -- these are what is looked for
  return !/[\u0000-\u001f\u007f]/.test(name);
}
