import type { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { NamedFile } from '../../platform/settings.ts';
import { parseCertificates } from '../../platform/tls-files.ts';
import type { TlsConfig } from '../../platform/tls-settings.ts';
import { reporterOf, type Finding } from './finding.ts';

const dayMs = 86_400_000;
/** As the log warns (docs/operations.md, Certificates). */
const soonDays = 30;
/** Extended key usages (RFC 5280 section 4.2.1.12). */
const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';

const report = reporterOf('certificates');

/**
 * What TLS serves and whom it trusts: dates, purposes, names, and that the chain is one. That the files
 * can be read and are a pair is among the settings.
 */
export async function checkCertificates(tls: TlsConfig, wallMs: () => number): Promise<Finding[]> {
  if (tls.mode === 'disabled') {
    return [report.ok('none is needed: TLS_MODE is disabled, and the gateway speaks plain HTTP')];
  }
  const { certificate, clientBundle } = tls.files;
  const now = wallMs();
  return [
    ...judgeServer(certificate, await certificatesOf(certificate), now),
    ...(clientBundle === undefined
      ? []
      : judgeClients(clientBundle, await certificatesOf(clientBundle), now)),
  ];
}

/** None where the file cannot be read: that is a fault of the settings. */
async function certificatesOf({ path }: NamedFile): Promise<X509Certificate[]> {
  const pem = await readFile(path, 'utf8').catch(() => undefined);
  return parseCertificates(pem, () => undefined);
}

/** The server's certificate, and in its order what leads to an authority. */
export function judgeServer(
  file: NamedFile,
  chain: readonly X509Certificate[],
  nowMs: number,
): Finding[] {
  const [leaf] = chain;
  if (leaf === undefined) return [notChecked(file)];
  const where = describe(file);
  const findings: Finding[] = [];
  if (!serves(leaf, serverAuth)) {
    const what = `${where} holds first a certificate that is not for servers, ${nameOf(leaf)}`;
    findings.push(report.fault(what, 'have one issued for server authentication'));
  }
  if (leaf.subjectAltName === undefined) {
    const what = `the certificate in ${where} has no subject alternative names: no client accepts it`;
    findings.push(report.fault(what, 'have one issued with the names callers use as DNS names'));
  }
  const gap = chain.findIndex((each, place) => {
    const issuer = chain[place + 1];
    return issuer !== undefined && !each.checkIssued(issuer);
  });
  if (gap !== -1) {
    const [below, above] = [chain[gap], chain[gap + 1]];
    const what = `in ${where} certificate ${gap + 2} (${nameOf(above)}) is not the issuer of ${gap + 1} (${nameOf(below)})`;
    const remedy = 'write the server certificate first, and each issuer behind what it has issued';
    findings.push(report.fault(what, remedy));
  }
  const dates = judgeDates(chain, where, nowMs, 'callers refuse it');
  findings.push(...dates);
  if (findings.length > 0) return findings;
  const last = chain.at(-1) ?? leaf;
  const trust = isSelfSigned(last) ? nameOf(last) : issuerOf(last);
  return [
    report.ok(`${where} serves ${nameOf(leaf)} until ${dateOf(leaf)}; callers must trust ${trust}`),
  ];
}

/** Authorities, and pinned certificates of clients. */
export function judgeClients(
  file: NamedFile,
  bundle: readonly X509Certificate[],
  nowMs: number,
): Finding[] {
  if (bundle.length === 0) return [notChecked(file)];
  const where = describe(file);
  const pinned = bundle.filter((each) => !each.ca);
  const misfits = pinned.filter((each) => !serves(each, clientAuth));
  const findings = [
    ...judgeDates(bundle, where, nowMs, 'clients that need it are refused'),
    ...misfits.map((each) =>
      report.warning(
        `${where} pins ${nameOf(each)}, which is not for clients: a client with it is refused`,
        'have one issued for client authentication, or take it out',
      ),
    ),
  ];
  if (findings.length > 0) return findings;
  const authorities = bundle.length - pinned.length;
  const first = bundle.toSorted((a, b) => Date.parse(a.validTo) - Date.parse(b.validTo))[0];
  return [
    report.ok(
      `${where} accepts clients of ${authorities} ${authorities === 1 ? 'authority' : 'authorities'} ` +
        `and ${pinned.length} pinned; the first expires on ${dateOf(first)}`,
    ),
  ];
}

function judgeDates(
  certificates: readonly X509Certificate[],
  where: string,
  nowMs: number,
  consequence: string,
): Finding[] {
  return certificates.flatMap((each) => {
    const leftMs = Date.parse(each.validTo) - nowMs;
    const name = `${nameOf(each)} in ${where}`;
    if (Date.parse(each.validFrom) > nowMs) {
      const from = new Date(each.validFrom).toISOString();
      const remedy = 'wait, or set the clock of this machine, or have it issued anew';
      return report.fault(`${name} is not valid before ${from}: ${consequence}`, remedy);
    }
    if (leftMs <= 0) {
      return report.fault(`${name} expired on ${dateOf(each)}: ${consequence}`, 'renew it');
    }
    if (leftMs >= soonDays * dayMs) return [];
    const days = Math.floor(leftMs / dayMs);
    return report.warning(`${name} expires on ${dateOf(each)}, in ${days} days`, 'renew it');
  });
}

function notChecked(file: NamedFile): Finding {
  return report.warning(
    `${describe(file)} is not checked: it holds no certificate`,
    'see settings',
  );
}

/** Without the extension a certificate serves every purpose. Its type leaves out that it may be absent. */
function serves({ keyUsage }: { keyUsage?: string[] }, purpose: string): boolean {
  return keyUsage === undefined || keyUsage.includes(purpose);
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate);
}

function describe({ setting, path }: NamedFile): string {
  return `${setting} ${path}`;
}

function nameOf(certificate: X509Certificate | undefined): string {
  const { subject = '', subjectAltName = '' } = certificate ?? {};
  return oneLine(subject === '' ? subjectAltName : subject);
}

function issuerOf({ issuer }: X509Certificate): string {
  return oneLine(issuer);
}

function oneLine(name: string): string {
  return name.replaceAll('\n', ', ');
}

function dateOf(certificate: X509Certificate | undefined): string {
  return new Date(certificate?.validTo ?? 0).toISOString().slice(0, 10);
}
