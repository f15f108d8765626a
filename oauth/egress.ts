import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { TokenManagerError } from '../client/contract.ts';

const httpsPort = 443;
const httpPort = 80;
const portMax = 65_535;

/** One entry of EGRESS_ALLOW. An address is a host as written; names that resolve to it need a CIDR. */
export type EgressEntry =
  | { kind: 'host'; host: string; port: number | null }
  | { kind: 'range'; range: [ipaddr.IPv4 | ipaddr.IPv6, number] };

/** Where a provider call may go: the addresses are checked, and no others may be connected to. */
export interface AdmittedTarget {
  kind: 'admitted';
  hostname: string;
  port: number;
  secure: boolean;
  addresses: string[];
}

export type Admission = AdmittedTarget | { kind: 'refused' } | { kind: 'unresolved'; code: string };

/** All addresses of a host name, as the system resolves it. Rejects with `code` such as ENOTFOUND. */
export type Lookup = (hostname: string) => Promise<string[]>;

export interface EgressGuard {
  /** Resolves once and checks every address. Never rejects. */
  admit(url: URL): Promise<Admission>;
}

/**
 * Admits https to globally routable addresses on port 443, and whatever EGRESS_ALLOW lists: a listed
 * host with any address, scheme and (unless the entry names one) port; a listed range with any scheme
 * and port, if every address of the host lies in it.
 */
export function createEgressGuard(options: {
  allow: readonly EgressEntry[];
  lookup: Lookup;
}): EgressGuard {
  const { allow, lookup } = options;
  return {
    async admit(url) {
      const secure = url.protocol === 'https:';
      if (!secure && url.protocol !== 'http:') return { kind: 'refused' };
      if (url.username !== '' || url.password !== '') return { kind: 'refused' };
      const hostname = bareHost(url.hostname);
      const port = url.port === '' ? (secure ? httpsPort : httpPort) : Number(url.port);
      const isPlainTarget = secure && port === httpsPort;
      const isListedHost = allow.some((entry) => isSameHost(entry, hostname, port));
      const hasRanges = allow.some((entry) => entry.kind === 'range');
      // Nothing that resolves could make this one admissible: not even the name server hears of it.
      if (!isListedHost && !isPlainTarget && !hasRanges) return { kind: 'refused' };

      const found = isIP(hostname) === 0 ? await resolveAll(lookup, hostname) : [hostname];
      if (typeof found === 'string') return { kind: 'unresolved', code: found };
      const addresses = [...new Set(found)];
      const isAdmitted =
        isListedHost ||
        addresses.every(
          (address) => isInRanges(address, allow) || (isPlainTarget && isGloballyRoutable(address)),
        );
      return isAdmitted
        ? { kind: 'admitted', hostname, port, secure, addresses }
        : { kind: 'refused' };
    },
  };
}

/**
 * Parses EGRESS_ALLOW: hosts, host:port and CIDRs, separated by commas or spaces. Throws
 * `input_validation` that names the entry.
 */
export function parseEgressAllow(text: string): EgressEntry[] {
  const entries = text.split(/[\s,]+/).filter((entry) => entry !== '');
  return entries.map((entry) => {
    const parsed = entry.includes('/') ? parseRange(entry) : parseHost(entry);
    if (parsed !== null) return parsed;
    throw new TokenManagerError('input_validation', {
      detail: 'EGRESS_ALLOW is not valid.',
      errors: [
        { parameter: 'EGRESS_ALLOW', detail: `${entry} is not a host, a host:port or a CIDR` },
      ],
    });
  });
}

/**
 * Global unicast, also inside: an IPv6 form that carries an IPv4 address (mapped, 64:ff9b::/96, 6to4,
 * Teredo) is as routable as that one.
 */
export function isGloballyRoutable(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed instanceof ipaddr.IPv4) return parsed.range() === 'unicast';
  const embedded = embeddedIPv4(parsed);
  if (embedded.length > 0) return embedded.every((inner) => inner.range() === 'unicast');
  // 2000::/3 is all that IANA has opened to global unicast (RFC 4291 §2.4).
  const isOpened = ((parsed.parts[0] ?? 0) & 0xe000) === 0x2000;
  return isOpened && parsed.range() === 'unicast';
}

/** Every IPv4 address that an IPv6 address leads to. */
function embeddedIPv4(address: ipaddr.IPv6): ipaddr.IPv4[] {
  const bytes = address.toByteArray();
  const at = (offset: number, mask = 0): ipaddr.IPv4 =>
    new ipaddr.IPv4(bytes.slice(offset, offset + 4).map((byte) => byte ^ mask));
  const range = address.range();
  if (range === 'ipv4Mapped') return [at(12)];
  // 64:ff9b:1::/48 (RFC 8215) is for local use, and where it leads is not known here.
  if (range === 'rfc6052') return bytes[5] === 0 ? [at(12)] : [];
  if (range === '6to4') return [at(2)];
  // RFC 4380: the server, and the client with its bits turned over.
  if (range === 'teredo') return [at(4), at(12, 0xff)];
  return [];
}

async function resolveAll(lookup: Lookup, hostname: string): Promise<string[] | string> {
  try {
    const addresses = await lookup(hostname);
    return addresses.length > 0 ? addresses : 'ENOTFOUND';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'EAI_FAIL';
  }
}

function isSameHost(entry: EgressEntry, hostname: string, port: number): boolean {
  if (entry.kind !== 'host' || entry.host !== hostname) return false;
  return entry.port === null || entry.port === port;
}

function isInRanges(address: string, entries: readonly EgressEntry[]): boolean {
  if (!ipaddr.isValid(address)) return false;
  // process() unwraps ::ffff:10.0.0.1, which is in 10.0.0.0/8 whichever way it is written.
  const parsed = ipaddr.process(address);
  return entries.some((entry) => {
    if (entry.kind !== 'range') return false;
    const [network, bits] = entry.range;
    return parsed.kind() === network.kind() && parsed.match(network, bits);
  });
}

function parseRange(entry: string): EgressEntry | null {
  if (!ipaddr.isValidCIDR(entry)) return null;
  return { kind: 'range', range: ipaddr.parseCIDR(entry) };
}

function parseHost(entry: string): EgressEntry | null {
  if (isIP(entry) === 6) return { kind: 'host', host: bareHost(`[${entry}]`), port: null };
  const parts = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/i.exec(entry);
  if (parts === null || !URL.canParse(`https://${parts[1] ?? ''}`)) return null;
  const port = parts[2] === undefined ? null : Number(parts[2]);
  if (port !== null && (port < 1 || port > portMax)) return null;
  // Through URL, so that both sides of the comparison are normalised alike.
  const host = bareHost(new URL(`https://${parts[1] ?? ''}`).hostname);
  return { kind: 'host', host, port };
}

/** A URL's host name without the brackets of IPv6 and without the root's dot. */
function bareHost(hostname: string): string {
  const host = hostname.startsWith('[')
    ? new URL(`https://${hostname}`).hostname.slice(1, -1)
    : hostname;
  return host.toLowerCase().replace(/\.$/, '');
}
