import { createProviderCatalogue, type ProviderCatalogue } from './provider-catalogue.ts';

export interface ReloadableCatalogue extends ProviderCatalogue {
  /**
   * Takes other contents of PROVIDERS_FILE from now on. Throws `input_validation` as
   * createProviderCatalogue does, and then keeps what it had.
   */
  reload(providersFile: string): void;
}

/** A catalogue whose PROVIDERS_FILE may change while it is in use. */
export function createReloadableCatalogue(sources: {
  builtIn: Record<string, unknown>;
  providersFile?: string;
}): ReloadableCatalogue {
  let current = createProviderCatalogue(sources);
  return {
    names: () => current.names(),
    written: (provider) => current.written(provider),
    resolve: (provider, overrides) => current.resolve(provider, overrides),
    warnings: () => current.warnings(),
    describe: (provider, overrides) => current.describe(provider, overrides),
    checkVariables: (provider, overrides, variables) =>
      current.checkVariables(provider, overrides, variables),
    tokenHost: (provider, overrides, variables) =>
      current.tokenHost(provider, overrides, variables),
    assumeLifetime: (provider, overrides, token, clamp) =>
      current.assumeLifetime(provider, overrides, token, clamp),
    reload(providersFile) {
      current = createProviderCatalogue({ builtIn: sources.builtIn, providersFile });
    },
  };
}
