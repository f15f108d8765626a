import { throwFaults } from './config-file.ts';
import { createSettings, type Environment } from './settings.ts';

/**
 * The path in CALLERS_FILE, all that `token-manager callers` needs; the file may be missing still.
 * Throws `input_validation` where it is not set.
 */
export function loadCallersFile(env: Environment = process.env): string {
  const settings = createSettings(env, () => '');
  const path = settings.text('CALLERS_FILE');
  if (path === undefined) {
    settings.fault('CALLERS_FILE', 'is not set; name the policy file there, or with --file');
  }
  throwFaults(settings.faults);
  return path ?? '';
}
