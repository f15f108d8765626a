import { randomUUID } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import type { Client } from '@temporalio/client';
import type { NativeConnection } from '@temporalio/worker';
import { createActivities } from '../activities/index.ts';
import { createTokenKeeper } from '../activities/token-keeper.ts';
import { createExchangeStore } from '../connections/exchange-store.ts';
import type { Queryable } from '../connections/store-query.ts';
import type { TokenVault } from '../connections/token-vault.ts';
import { createEgressGuard, parseEgressAllow } from '../oauth/egress.ts';
import type { ProviderCatalogue } from '../oauth/provider-catalogue.ts';
import { createTokenEndpoint } from '../oauth/token-endpoint.ts';
import { systemClock } from '../platform/clock.ts';
import type { Config } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { createSealedResults } from './sealed-results.ts';
import { createWorker } from './create-worker.ts';

export interface ComposedWorker {
  /** Settles when the worker has stopped: rejects if it could not go on. */
  running: Promise<void>;
  /** Drains: takes nothing new, and ends when the calls in flight are stored. */
  close(): Promise<void>;
}

interface WorkerComposition {
  config: Config;
  log: Logger;
  metrics: Metrics;
  pool: Queryable;
  vault: TokenVault;
  providers: ProviderCatalogue;
  connection: NativeConnection;
  client: Client;
  workflowBundlePath: string;
}

/** A worker that polls the refresh Task Queue with every Activity wired to its stores. */
export async function composeWorker(composition: WorkerComposition): Promise<ComposedWorker> {
  const { config, log, metrics, pool, vault, providers, connection, client } = composition;
  const keeper = createTokenKeeper({
    unstored: metrics.refreshedButNotStored,
    onStored: (fence, outcome) => {
      log.info({ connection_id: fence.connectionId, outcome }, 'tokens stored after all');
    },
  });
  const activities = createActivities({
    store: createExchangeStore(pool),
    vault,
    providers,
    tokenEndpoint: createTokenEndpoint({
      egress: createEgressGuard({
        allow: parseEgressAllow(config.egressAllow.join(' ')),
        lookup: async (hostname) =>
          (await lookup(hostname, { all: true })).map(({ address }) => address),
      }),
      clock: systemClock,
      randomUuid: randomUUID,
    }),
    keeper,
    sealedResults: createSealedResults(client),
    clock: systemClock,
    random: Math.random,
    randomUuid: randomUUID,
    log,
    metrics,
  });
  const { slots, pollers, shutdownGraceSeconds } = config.temporal.worker;
  const worker = await createWorker({
    connection,
    namespace: config.temporal.namespace,
    taskQueue: config.temporal.taskQueues.refresh,
    workflowBundlePath: composition.workflowBundlePath,
    activities,
    activitySlots: slots.activities,
    workflowTaskSlots: slots.workflowTasks,
    pollers,
    shutdownGraceMs: 1_000 * shutdownGraceSeconds,
  });
  const running = worker.run();
  let closing: Promise<void> | undefined;
  return {
    running,
    close() {
      closing ??= (async () => {
        worker.shutdown();
        // Whoever awaits `running` learns of a failure; here only the end matters.
        await running.catch(() => undefined);
        keeper.stop();
      })();
      return closing;
    },
  };
}
