import { readFileSync } from 'node:fs';
import { TokenManagerError } from '../client/contract.ts';
import { parseCallerPolicy } from '../gateway/caller-policy.ts';
import {
  createAnonymousCallers,
  createCertificateCallers,
  createKeyCallers,
  type Callers,
} from '../gateway/callers.ts';
import type { CallersConfig } from '../platform/callers-settings.ts';
import { unusableConfiguration } from '../platform/config-file.ts';
import type { Logger } from '../platform/log.ts';
import { watchFile, type FileWatch } from '../platform/watch-file.ts';

/**
 * Who may call, by CALLERS_FILE, which is taken again whenever it changes, or by how the service
 * listens. Throws `input_validation` that names the file and every fault in it.
 */
export function loadCallers(
  { file, byCertificate }: CallersConfig,
  log: Pick<Logger, 'info' | 'error'>,
): { callers: Callers; watch: FileWatch | undefined } {
  if (file === undefined) {
    const callers = byCertificate ? createCertificateCallers(undefined) : createAnonymousCallers();
    return { callers, watch: undefined };
  }
  const contents = readFileSync(file, 'utf8');
  let policy = readPolicy(file, contents);
  const current = () => policy;
  const watch = watchFile({
    path: file,
    setting: 'CALLERS_FILE',
    contents,
    onChange(changed) {
      policy = parseCallerPolicy(changed);
    },
    log,
  });
  const callers = byCertificate ? createCertificateCallers(current) : createKeyCallers(current);
  return { callers, watch };
}

function readPolicy(path: string, contents: string) {
  try {
    return parseCallerPolicy(contents);
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    throw unusableConfiguration(
      (error.errors ?? []).map((fault) => ({
        parameter: `CALLERS_FILE ${path}#${'pointer' in fault ? fault.pointer : fault.parameter}`,
        detail: fault.detail,
      })),
    );
  }
}
