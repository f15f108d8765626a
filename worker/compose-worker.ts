import { randomUUID } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '@temporalio/client';
import type { NativeConnection } from '@temporalio/worker';
import { TokenManagerError } from '../client/contract.ts';
import { createActivities } from '../activities/index.ts';
import { createAppSlots } from '../activities/app-slots.ts';
import { createGateLine } from '../activities/gate-line.ts';
import { createClientSecretOrder } from '../activities/follow-up.ts';
import { createTokenKeeper } from '../activities/token-keeper.ts';
import { createAppGates } from '../connections/app-gates.ts';
import { createExchangeStore } from '../connections/exchange-store.ts';
import type { ConnectionRegistry } from '../connections/registry.ts';
import type { TransactionalStore } from '../connections/store-query.ts';
import type { TokenVault } from '../connections/token-vault.ts';
import type { WebhookEndpoint } from '../connections/webhook-settings.ts';
import { createEgressGuard, parseEgressAllow } from '../oauth/egress.ts';
import type { ProviderCatalogue } from '../oauth/provider-catalogue.ts';
import { createTokenEndpoint } from '../oauth/token-endpoint.ts';
import { createActivityCalls } from '../platform/activity-calls.ts';
import { systemClock } from '../platform/clock.ts';
import type { Config } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import type { Tracer } from '../platform/tracer.ts';
import type { Metrics } from '../platform/metrics.ts';
import {
  isNamespaceMissing,
  isNotFound,
  isTemporalAway,
} from '../platform/temporal-connections.ts';
import type { DataKeyStore } from '../vault/data-key-store.ts';
import { createSealedResults } from './sealed-results.ts';
import { createWorker } from './create-worker.ts';
import { composeDeliveries } from './compose-deliveries.ts';
import { composeMaintenance } from './compose-maintenance.ts';
import { composeWaits } from './compose-waits.ts';
import { createNexusHandler } from './nexus-handler.ts';
import { runTogether } from './run-together.ts';
import { ensureSweepSchedule } from './sweep-schedule.ts';
import {
  exchangeDeadlinesMs,
  tuneMaintenanceWorker,
  tuneWaitWorker,
  tuneWorker,
} from './worker-settings.ts';
import { superviseWorker, type PollingWorker } from './supervise-worker.ts';

const describeLimitMs = 5_000;
const msPerHour = 3_600_000;

export interface ComposedWorker {
  /**
   * Resolves when it polls, or cannot yet because Temporal is away; rejects with what waiting does not
   * heal.
   */
  firstAttempt: Promise<void>;
  /** Settles when the worker has been closed; rejects with what waiting does not heal. */
  running: Promise<void>;
  isPolling: () => boolean;
  /** Whether the newest attempt to poll found that Temporal has no such namespace. */
  isNamespaceMissing: () => boolean;
  /** Over the connection that the worker polls by; undefined before the first. */
  client: () => Client | undefined;
  /** Drains: takes nothing new, and ends when the calls in flight are stored. */
  close(): Promise<void>;
}

interface WorkerComposition {
  config: Config;
  log: Logger;
  metrics: Metrics;
  tracer: Tracer;
  pool: TransactionalStore;
  connections: ConnectionRegistry;
  vault: TokenVault;
  dataKeys: DataKeyStore;
  providers: ProviderCatalogue;
  webhookEndpoints: () => readonly WebhookEndpoint[];
  /** Opens a connection to Temporal; asked again when one was lost. */
  connect: () => Promise<NativeConnection>;
  workflowBundlePath: string;
}

/**
 * A worker that polls the refresh Task Queue with every Activity wired to its stores, and is created
 * again when Temporal has taken it down. The Activities outlive it, and with them the tokens that they
 * could not store yet.
 */
export function composeWorker(composition: WorkerComposition): ComposedWorker {
  const { config, log, metrics, pool, vault, providers, webhookEndpoints } = composition;
  const { address, namespace } = config.temporal;
  const { refresh: taskQueue, sweep: sweepQueue, wait: waitQueue } = config.temporal.taskQueues;
  const { slots } = config.temporal.worker;
  const { connectSeconds } = config.temporal.refresh;
  let client: Client | undefined;
  let namespaceIsMissing = false;
  const keeper = createTokenKeeper({
    unstored: metrics.refreshedButNotStored,
    onStored: (fence, outcome) => {
      log.info({ connection_id: fence.connectionId, outcome }, 'tokens stored after all');
    },
  });
  const calls = createActivityCalls(composition.tracer);
  const egress = createEgressGuard({
    allow: parseEgressAllow(config.egressAllow.join(' ')),
    lookup: async (hostname) =>
      (await lookup(hostname, { all: true })).map(({ address }) => address),
  });
  const stopping = new AbortController();
  const deliveries = composeDeliveries({
    ...composition,
    egress,
    client: () => client,
    stopping: stopping.signal,
  });
  const gates = createAppGates({ store: pool, random: Math.random });
  const shared = {
    clientSecrets: createClientSecretOrder(),
    vault,
    providers,
    tokenEndpoint: createTokenEndpoint({
      egress,
      clock: systemClock,
      randomUuid: randomUUID,
      connectDeadlineMs: 1_000 * connectSeconds,
    }),
    deadlinesMs: exchangeDeadlinesMs(config.temporal.refresh),
    sealedResults: createSealedResults({ client: () => client, isNotFound }),
    currentCall: calls.current,
    log,
  };
  const activities = createActivities({
    ...shared,
    store: createExchangeStore(pool, () =>
      webhookEndpoints().some(({ types }) => types.has('connection.refreshed')),
    ),
    gates,
    gateLine: createGateLine({ gates, random: Math.random, sleep: (ms) => sleep(ms) }),
    appSlots: createAppSlots(slots.activities),
    keeper,
    clock: systemClock,
    random: Math.random,
    randomUuid: randomUUID,
    metrics,
  });
  const maintenance = composeMaintenance({
    ...composition,
    client: () => client,
    shared,
    stopping: stopping.signal,
  });

  const waits = composeWaits({ ...composition, client: () => client, currentCall: calls.current });
  const nexusServices =
    config.temporal.nexusEndpoint === null
      ? []
      : [
          createNexusHandler({
            workflowExecutionTimeoutMs: msPerHour * config.temporal.refresh.workflowExecutionHours,
          }),
        ];

  /** Worker.create would fail as well, with an error that does not tell why. */
  async function checkNamespace(connection: NativeConnection): Promise<void> {
    try {
      await connection.withDeadline(systemClock.wallMs() + describeLimitMs, () =>
        connection.workflowService.describeNamespace({ namespace }),
      );
      namespaceIsMissing = false;
    } catch (error) {
      namespaceIsMissing = isNamespaceMissing(error);
      if (!namespaceIsMissing) return;
      throw new TokenManagerError('refresh_engine_unavailable', {
        detail: `Temporal at ${address} has no namespace ${namespace}: create it, or correct TEMPORAL_NAMESPACE.`,
      });
    }
  }

  async function startWorker(): Promise<PollingWorker> {
    const connection = await composition.connect();
    try {
      await checkNamespace(connection);
      const basis = {
        connection,
        namespace,
        workflowBundlePath: composition.workflowBundlePath,
        activityInterceptors: calls.interceptors,
      };
      const refreshing = { ...basis, taskQueue, activities };
      const sweeping = {
        ...basis,
        taskQueue: sweepQueue,
        activities: { ...maintenance, ...deliveries.activities },
      };
      const waiting = { ...basis, taskQueue: waitQueue, activities: waits, nexusServices };
      const together = await runTogether([
        () => createWorker({ ...refreshing, ...tuneWorker(config.temporal.worker) }),
        () => createWorker({ ...sweeping, ...tuneMaintenanceWorker() }),
        () => createWorker({ ...waiting, ...tuneWaitWorker(config.temporal.worker) }),
      ]);
      client = new Client({ connection, namespace });
      log.info({ address, namespace, task_queue: taskQueue }, 'worker polls for refreshes');
      scheduleSweeps(client);
      return { ...together, release: () => connection.close() };
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** A worker without the right to write Schedules works all the same. */
  function scheduleSweeps(over: Client): void {
    const { enabled: isEnabled, everySeconds } = config.temporal.sweep;
    ensureSweepSchedule(over, { taskQueue: sweepQueue, isEnabled, everySeconds }).catch(
      (error: unknown) => {
        log.warn({ err: error, task_queue: sweepQueue }, 'the sweep could not be scheduled');
      },
    );
  }

  const supervisor = superviseWorker({
    startWorker,
    mayHeal: isTemporalAway,
    clock: systemClock,
    sleep: (ms, signal) => sleep(ms, undefined, { signal }),
    log,
  });
  let closing: Promise<void> | undefined;
  return {
    firstAttempt: supervisor.firstAttempt,
    running: supervisor.running,
    isPolling: supervisor.isPolling,
    isNamespaceMissing: () => namespaceIsMissing,
    client: () => client,
    close() {
      closing ??= (async () => {
        stopping.abort();
        await deliveries.close();
        await supervisor.close();
        await keeper.tryOnce();
        if (keeper.count() > 0) {
          log.warn(
            { count: keeper.count() },
            'tokens could not be stored before the end; the histories of their runs keep them sealed',
          );
        }
        keeper.stop();
      })();
      return closing;
    },
  };
}
