import type { Settings } from './settings.ts';

export interface CallersConfig {
  /** The policy, JSON; absent: see `byCertificate`. */
  file: string | undefined;
  /**
   * TLS_MODE=mtls: callers are their client certificates, and without a policy all that are accepted may
   * read tokens. Otherwise they are their keys, and without a policy whoever comes may do everything.
   */
  byCertificate: boolean;
}

export function readCallers(settings: Settings, byCertificate: boolean): CallersConfig {
  return { file: settings.readablePath('CALLERS_FILE'), byCertificate };
}

export function callersWarnings(settings: Settings, { file, byCertificate }: CallersConfig) {
  const isAnonymous = file === undefined && !byCertificate;
  return !isAnonymous && settings.boolean('ALLOW_ANONYMOUS_CALLERS', false)
    ? ['ALLOW_ANONYMOUS_CALLERS has no effect where callers are known: nobody else is let in']
    : [];
}
