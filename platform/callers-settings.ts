import { readFileSync } from 'node:fs';
import { throwFaults } from './config-file.ts';
import { createSettings, type Environment, type Settings } from './settings.ts';

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

/** For the command that edits the policy, which need not be there yet. Throws `input_validation`. */
export function loadCallersPath(env: Environment = process.env): string {
  const settings = createSettings(env, (path) => readFileSync(path, 'utf8'));
  const path = settings.text('CALLERS_FILE');
  if (path === undefined) settings.fault('CALLERS_FILE', 'is not set; name the policy file');
  throwFaults(settings.faults);
  return path ?? '';
}
