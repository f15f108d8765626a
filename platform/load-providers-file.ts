import { createSettings, type Environment } from './settings.ts';

/** The path in PROVIDERS_FILE, all that `token-manager providers` needs; undefined: it is not set. */
export function loadProvidersFile(env: Environment = process.env): string | undefined {
  return createSettings(env, () => '').text('PROVIDERS_FILE');
}
