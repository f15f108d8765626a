import { checkTlsContents, readTlsContents, type NamedFile, type TlsFiles } from './tls-files.ts';
import type { Settings } from './settings.ts';

const tlsModes = ['disabled', 'enabled', 'mtls'] as const;

/** The variables of each mode, by what they name. */
const variables = {
  enabled: { certificate: 'TLS_CERT_FILE', key: 'TLS_KEY_FILE' },
  mtls: {
    certificate: 'MTLS_CERT_FILE',
    key: 'MTLS_KEY_FILE',
    clientBundle: 'MTLS_CLIENT_CERT_FILE',
  },
} as const;

export type TlsConfig = { mode: 'disabled' } | { mode: 'enabled' | 'mtls'; files: TlsFiles };

/**
 * TLS_MODE and its files, which are read and checked, so that a start reports everything that is wrong
 * with them. With faults the mode stands without its files.
 */
export function readTls(settings: Settings, readFile: (path: string) => string): TlsConfig {
  const mode = settings.oneOf('TLS_MODE', tlsModes, 'disabled');
  if (mode === 'disabled') return { mode };
  const file = (setting: string): NamedFile => {
    const path = settings.text(setting);
    if (path === undefined) {
      settings.fault(setting, `is not set, and TLS_MODE is ${mode}; name a file in PEM`);
    }
    return { setting, path: path ?? '' };
  };
  const { certificate, key } = variables[mode];
  const files: TlsFiles = {
    certificate: file(certificate),
    key: file(key),
    ...(mode === 'mtls' && { clientBundle: file(variables.mtls.clientBundle) }),
  };
  const reading = checkTlsContents(files, readTlsContents(files, readFile));
  if ('faults' in reading) {
    for (const fault of reading.faults) {
      // That a file is not named at all has been said.
      if ('parameter' in fault && settings.text(fault.parameter) !== undefined) {
        settings.fault(fault.parameter, fault.detail);
      }
    }
  }
  return { mode, files };
}

/** Files of a mode other than the one that is on: somebody expects of them what they do not do. */
export function tlsWarnings(settings: Settings, { mode }: TlsConfig): string[] {
  const idle = (['enabled', 'mtls'] as const).filter((other) => other !== mode);
  return idle
    .flatMap((other) => Object.values(variables[other]))
    .filter((name) => settings.text(name) !== undefined)
    .map((name) => `${name} is set and has no effect, for TLS_MODE is ${mode}`);
}
