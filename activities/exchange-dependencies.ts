import type { AppGates } from '../connections/app-gate.ts';
import type { ExchangeStore } from '../connections/exchange-store.ts';
import type { TokenVault } from '../connections/token-vault.ts';
import type { ProviderCatalogue } from '../oauth/provider-catalogue.ts';
import type { ProviderDeadlinesMs } from '../oauth/rotation.ts';
import type { TokenEndpoint } from '../oauth/token-endpoint.ts';
import type { ActivityCall } from '../platform/activity-calls.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { AppSlots } from './app-slots.ts';
import type { GateLine } from './gate-line.ts';
import type { ClientSecretOrder } from './follow-up.ts';
import type { SealedExchange } from './refresh-step.ts';
import type { TokenKeeper } from './token-keeper.ts';

/** Everything with I/O, a clock or chance that the Activities use. */
export interface ExchangeDependencies {
  store: ExchangeStore;
  gates: AppGates;
  gateLine: GateLine;
  clientSecrets: ClientSecretOrder;
  vault: TokenVault;
  providers: ProviderCatalogue;
  tokenEndpoint: TokenEndpoint;
  keeper: TokenKeeper;
  /** Sealed results in the history of one run of a connection's refresh; empty if it has none. */
  sealedResults: (connectionId: string, workflowRunId: string) => Promise<SealedExchange[]>;
  deadlinesMs: ProviderDeadlinesMs;
  appSlots: AppSlots;
  clock: Clock;
  /** A random number in [0, 1). */
  random: () => number;
  randomUuid: () => string;
  /** Of the Activity that asks. */
  currentCall: () => ActivityCall;
  log: Logger;
  metrics: Pick<Metrics, 'refreshes' | 'refreshDurationSeconds' | 'providerRequests'>;
}
