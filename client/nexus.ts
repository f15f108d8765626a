import { operation, service } from 'nexus-rpc';
import type { EnsureFreshInput, RefreshResult } from './contract.ts';

/**
 * The Nexus service of the token manager, for Workflows of other namespaces: `ensureFresh` of
 * `token-manager/workflow` calls it where an endpoint is named. Cancelling an operation ends that wait
 * only. Input that is not valid fails it with `BAD_REQUEST`.
 */
export const tokenManagerService = service('token-manager', {
  ensureFresh: operation<EnsureFreshInput, RefreshResult>({ name: 'ensureFresh' }),
});

export type { EnsureFreshInput, RefreshOutcome, RefreshResult } from './contract.ts';
