import type { KeysConfig } from '../platform/key-settings.ts';
import { createGoogleKeyProvider } from '../vault/google-key-provider.ts';
import { loadGoogleKmsClient } from '../vault/google-kms-client.ts';
import { createKeyProviders, type KeyProvider, type KeyProviders } from '../vault/key-provider.ts';
import { loadLocalKey } from '../vault/local-key-file.ts';
import { createLocalKeyProvider, localKeyProviderName } from '../vault/local-key-provider.ts';

/**
 * The key providers that are configured, without asking Cloud KMS yet. Throws
 * `key_service_unavailable` that says what to do when the local key file cannot be used.
 */
export async function loadKeyProviders(config: KeysConfig): Promise<KeyProviders> {
  const local = await loadLocal(config);
  const google = await loadGoogle(config);
  const [wrapping, other] =
    config.wrapping === localKeyProviderName ? [local, google] : [google, local];
  if (wrapping === undefined) throw new Error('The settings let no process start like this.');
  return createKeyProviders(wrapping, other === undefined ? [] : [other]);
}

async function loadLocal({ localKeyFile }: KeysConfig): Promise<KeyProvider | undefined> {
  if (localKeyFile === undefined) return undefined;
  return createLocalKeyProvider(await loadLocalKey(localKeyFile));
}

async function loadGoogle({ googleKms }: KeysConfig): Promise<KeyProvider | undefined> {
  if (googleKms === undefined) return undefined;
  const { endpoint, keyName, otherKeyNames } = googleKms;
  return createGoogleKeyProvider({
    client: await loadGoogleKmsClient(endpoint),
    keyName,
    otherKeyNames,
  });
}
