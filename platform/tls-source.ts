import type { InputFault } from '../client/contract.ts';
import { watchCertificateExpiry } from './certificate-expiry.ts';
import type { Clock } from './clock.ts';
import { unusableConfiguration } from './config-file.ts';
import type { Logger } from './log.ts';
import {
  checkTlsContents,
  namedFiles,
  readTlsContents,
  type CertificateExpiry,
  type TlsFiles,
  type TlsMaterial,
} from './tls-files.ts';
import { watchFiles } from './watch-files.ts';

/** The files of a listener as they are now. */
export interface TlsSource {
  current(): TlsMaterial;
  /** Called after each change to files that can be used. */
  subscribe(listener: (material: TlsMaterial) => void): void;
  expiries(): CertificateExpiry[];
  close(): void;
}

/**
 * Reads the files, and again when they change. A change to files that cannot be used is logged, and what
 * was read before goes on. Warns before certificates expire. Throws `input_validation` with all faults
 * if the files cannot be used at the start.
 */
export function createTlsSource(options: {
  files: TlsFiles;
  readFile: (path: string) => string;
  clock: Clock;
  log: Pick<Logger, 'info' | 'warn' | 'error'>;
  lookEveryMs?: number;
}): TlsSource {
  const { files, clock, log } = options;
  const named = namedFiles(files);
  const known = readTlsContents(files, options.readFile);
  const first = checkTlsContents(files, known);
  if ('faults' in first) throw unusableConfiguration(first.faults);
  let { material } = first;

  const listeners: ((material: TlsMaterial) => void)[] = [];
  const expiryWatch = watchCertificateExpiry({ expiries, clock, log });
  const fileWatch = watchFiles({
    paths: named.map(([, { path }]) => path),
    known: named.map(([name]) => known[name] ?? ''),
    onChange(contents) {
      const changed = Object.fromEntries(named.map(([name], index) => [name, contents[index]]));
      const reading = checkTlsContents(files, changed);
      if ('faults' in reading) {
        log.error({ faults: reading.faults.map(describeFault) }, keptMessage);
        return;
      }
      ({ material } = reading);
      for (const listener of listeners) listener(material);
      log.info({ certificates: material.expiries.map(describeExpiry) }, 'TLS files read anew');
      expiryWatch.look();
    },
    ...(options.lookEveryMs !== undefined && { lookEveryMs: options.lookEveryMs }),
  });

  function expiries(): CertificateExpiry[] {
    return material.expiries;
  }

  return {
    current: () => material,
    subscribe: (listener) => void listeners.push(listener),
    expiries,
    close() {
      fileWatch.close();
      expiryWatch.close();
    },
  };
}

const keptMessage = 'TLS files have changed and cannot be used: those read before go on';

function describeFault(fault: InputFault): string {
  return `${'pointer' in fault ? fault.pointer : fault.parameter} ${fault.detail}`;
}

function describeExpiry({ setting, subject, expiresAt }: CertificateExpiry) {
  return { setting, subject, expires_at: expiresAt.toISOString() };
}
