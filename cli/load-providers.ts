import { readFileSync } from 'node:fs';
import { TokenManagerError, type InputFault } from '../client/contract.ts';
import { loadBuiltInProviders, type ProviderCatalogue } from '../oauth/provider-catalogue.ts';
import {
  createReloadableCatalogue,
  type ReloadableCatalogue,
} from '../oauth/reloadable-catalogue.ts';
import { unusableConfiguration } from '../platform/config-file.ts';
import type { Logger } from '../platform/log.ts';
import { watchFile, type FileWatch } from '../platform/watch-file.ts';

export interface LoadedProviders {
  providers: ProviderCatalogue;
  /** Undefined without a PROVIDERS_FILE. */
  watch: FileWatch | undefined;
}

/**
 * The built-in definitions and those of PROVIDERS_FILE, which is taken again whenever it changes.
 * Throws `input_validation` that names the file and every fault in it.
 */
export function loadProviders(
  path: string | undefined,
  log: Pick<Logger, 'info' | 'warn' | 'error'>,
): LoadedProviders {
  const { providers, contents } = readProviders(path);
  const warn = (): void => {
    for (const warning of providers.warnings()) log.warn(warning);
  };
  warn();
  if (path === undefined || contents === undefined) return { providers, watch: undefined };
  const watch = watchFile({
    path,
    setting: 'PROVIDERS_FILE',
    contents,
    onChange(changed) {
      providers.reload(changed);
      warn();
    },
    log,
  });
  return { providers, watch };
}

/** The same once, without watching. Throws as loadProviders does. */
export function readProviders(path: string | undefined): {
  providers: ReloadableCatalogue;
  contents: string | undefined;
} {
  const contents = path === undefined ? undefined : readFileSync(path, 'utf8');
  try {
    const providers = createReloadableCatalogue({
      builtIn: loadBuiltInProviders(),
      ...(contents !== undefined && { providersFile: contents }),
    });
    return { providers, contents };
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    const faults = error.errors ?? [{ pointer: '', detail: error.message }];
    throw unusableConfiguration(faults.map((fault) => inFile(path ?? '', fault)));
  }
}

function inFile(path: string, fault: InputFault): InputFault {
  const where = 'pointer' in fault ? fault.pointer : `/${fault.parameter}`;
  return { parameter: `PROVIDERS_FILE ${path}#${where}`, detail: fault.detail };
}
