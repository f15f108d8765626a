import { TokenManagerError } from '../client/contract.ts';
import type { App, AppInput, ProviderFacts, ProviderRules } from './app.ts';

type Endpoints = Pick<ProviderFacts, 'endpointHosts' | 'hostVariablePatterns' | 'allowedHosts'>;

/**
 * A PUT that may send tokens or credentials elsewhere must bring all stored credentials again.
 * Throws `input_validation`, also for a definition that is not valid, and `provider_not_found`.
 */
export function refuseRedirect(
  input: AppInput,
  stored: App | undefined,
  providers: ProviderRules,
): void {
  const facts = providers.describe(input.provider, input.overrides ?? stored?.overrides ?? {});
  if (stored === undefined) return;
  const missing = missingCredentials(input, stored);
  if (missing.length === 0) return;
  if (!leadsElsewhere(providers.describe(stored.provider, stored.overrides), facts)) return;
  const detail = 'must be given again when it may go to another host than before';
  throw new TokenManagerError('input_validation', {
    errors: missing.map((pointer) => ({ pointer, detail })),
  });
}

/** Pointers of the credentials that are stored and that the body leaves out. */
export function missingCredentials(input: AppInput, stored: App): string[] {
  const isMissing = {
    '/client_secrets': stored.clientSecretCount > 0 && input.clientSecrets === undefined,
    '/private_key': stored.privateKeyType !== null && input.privateKey === undefined,
    '/client_certificate':
      stored.clientCertificateExpiresAt !== null && input.clientCertificate === undefined,
  };
  return Object.entries(isMissing).flatMap(([pointer, missing]) => (missing ? [pointer] : []));
}

/**
 * Whether requests may go to a host now that they could not go to before: an endpoint's host is another,
 * a variable in it takes other values, or the bounds of where it may lead have become wider.
 */
function leadsElsewhere(before: Endpoints, now: Endpoints): boolean {
  const isKnownHost = now.endpointHosts.every((host) => before.endpointHosts.includes(host));
  const isKnownPattern = Object.entries(now.hostVariablePatterns).every(
    ([variable, pattern]) => before.hostVariablePatterns[variable] === pattern,
  );
  const isKnownBound =
    before.allowedHosts === null ||
    now.allowedHosts?.every((host) => before.allowedHosts?.includes(host)) === true;
  return !isKnownHost || !isKnownPattern || !isKnownBound;
}
