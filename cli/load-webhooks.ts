import { readFileSync } from 'node:fs';
import { TokenManagerError } from '../client/contract.ts';
import { parseWebhookFile, type WebhookEndpoint } from '../connections/webhook-settings.ts';
import { unusableConfiguration } from '../platform/config-file.ts';
import type { Logger } from '../platform/log.ts';
import { watchFile, type FileWatch } from '../platform/watch-file.ts';

export interface LoadedWebhooks {
  /** Those of WEBHOOKS_FILE now; none without one. */
  endpoints: () => readonly WebhookEndpoint[];
  watch: FileWatch | undefined;
}

/**
 * The endpoints of WEBHOOKS_FILE, which is taken again whenever it changes. Throws `input_validation` that
 * names the file and every fault in it.
 */
export function loadWebhooks(
  file: string | undefined,
  log: Pick<Logger, 'info' | 'error'>,
): LoadedWebhooks {
  if (file === undefined) return { endpoints: () => [], watch: undefined };
  const contents = readFileSync(file, 'utf8');
  let current = readEndpoints(file, contents);
  const watch = watchFile({
    path: file,
    setting: 'WEBHOOKS_FILE',
    contents,
    onChange(changed) {
      current = parseWebhookFile(changed);
    },
    log,
  });
  return { endpoints: () => current, watch };
}

function readEndpoints(path: string, contents: string): WebhookEndpoint[] {
  try {
    return parseWebhookFile(contents);
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    throw unusableConfiguration(
      (error.errors ?? []).map((fault) => ({
        parameter: `WEBHOOKS_FILE ${path}#${'pointer' in fault ? fault.pointer : fault.parameter}`,
        detail: fault.detail,
      })),
    );
  }
}
