import { TokenManagerError } from '../../client/contract.ts';
import { createProviderCatalogue } from '../../oauth/provider-catalogue.ts';
import { describeFault } from '../operations/describe-failure.ts';

export interface Lint {
  faults: string[];
  warnings: string[];
}

/** Judges each definition of `{"<name>": definition}` by itself, as a gateway would take it. */
export function lintProviders(definitions: Record<string, unknown>): Lint {
  const lint: Lint = { faults: [], warnings: [] };
  for (const [name, definition] of Object.entries(definitions)) {
    try {
      const providersFile = JSON.stringify({ [name]: definition });
      lint.warnings.push(...createProviderCatalogue({ builtIn: {}, providersFile }).warnings());
    } catch (error) {
      if (!(error instanceof TokenManagerError)) throw error;
      const faults = error.errors ?? [{ pointer: `/${name}`, detail: error.message }];
      lint.faults.push(...faults.map(describeFault));
    }
  }
  return lint;
}
