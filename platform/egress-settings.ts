import ipaddr from 'ipaddr.js';
import { quoted, type Settings } from './settings.ts';

/**
 * EGRESS_ALLOW: hosts, host:port (IPv6 in brackets) and CIDRs, in lower case, to which provider calls
 * may go although they are plain http or not globally routable.
 */
export function readEgressAllow(settings: Settings): string[] {
  const entries = settings.list('EGRESS_ALLOW').map((entry) => entry.toLowerCase());
  for (const entry of entries) {
    if (!isEgressEntry(entry)) {
      settings.fault(
        'EGRESS_ALLOW',
        `holds ${quoted(entry)}; set hosts (10.0.0.7, login.example.com), host:port or CIDRs`,
      );
    }
  }
  return entries;
}

function isEgressEntry(entry: string): boolean {
  if (entry.includes('/')) return ipaddr.isValidCIDR(entry);
  if (ipaddr.isValid(entry)) return true;
  const parts = /^(?:\[([^\]]+)\]|([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?))(?::(\d{1,5}))?$/.exec(entry);
  if (parts === null) return false;
  const [, address, , port] = parts;
  if (address !== undefined && !ipaddr.IPv6.isValid(address)) return false;
  return port === undefined || (Number(port) >= 1 && Number(port) <= 65_535);
}
