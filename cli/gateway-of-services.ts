import { readFileSync } from 'node:fs';
import type { Client } from '@temporalio/client';
import { createEventFeed } from '../connections/event-feed.ts';
import { countConnections } from '../connections/connection-registry.ts';
import { createSweepStore } from '../connections/sweep-store.ts';
import { listenForTokenNotices } from '../connections/token-notice-listener.ts';
import type { TokenNotices } from '../connections/token-notices.ts';
import { composeGateway, type ComposedGateway } from '../gateway/compose-gateway.ts';
import type { BuildInfo } from '../gateway/routes/build.ts';
import { createProviderDirectory } from '../oauth/provider-directory.ts';
import { systemClock } from '../platform/clock.ts';
import type { CheckState } from '../platform/readiness.ts';
import { isNamespaceMissing } from '../platform/temporal-connections.ts';
import { createTemporalRefreshEngine } from '../platform/temporal-refresh-engine.ts';
import { createTemporalRevocationEngine } from '../platform/temporal-revocation-engine.ts';
import { createTlsSource } from '../platform/tls-source.ts';
import type { Services } from './compose-services.ts';
import { loadCallers } from './load-callers.ts';

const msPerHour = 3_600_000;
const probeDeadlineMs = 2_000;

export interface GatewayOfServices extends ComposedGateway {
  /** What its token cache hears; undefined when TOKEN_CACHE_SECONDS is 0. */
  tokenNotices: TokenNotices | undefined;
}

/** A gateway that listens, over the stores of this process and whatever client reaches Temporal. */
export async function composeGatewayOfServices(
  services: Services,
  temporal: {
    build: BuildInfo;
    client: () => Client | undefined;
    /** Only where client and worker share one NativeConnection. */
    requestEagerStart: boolean;
    /** What `/ready` asks instead of the client's connection. */
    probe?: () => Promise<CheckState>;
  },
): Promise<GatewayOfServices> {
  const { config, log, metrics, pool, tracer } = services;
  const { client } = temporal;
  const { callers, watch } = loadCallers(config.callers, log);
  metrics.collectConnections(() => countConnections(pool));
  metrics.collectSweepLag(() => createSweepStore(pool).lagSeconds());
  const tls =
    config.tls.mode === 'disabled'
      ? undefined
      : createTlsSource({
          files: config.tls.files,
          readFile: (path) => readFileSync(path, 'utf8'),
          clock: systemClock,
          log,
        });
  if (tls !== undefined) metrics.collectCertificateExpiries(() => tls.expiries(), systemClock);
  const tokenNotices =
    config.tokenCacheSeconds === 0
      ? undefined
      : listenForTokenNotices({
          url: config.database.listenUrl,
          applicationName: `${config.subsystemName} listen`,
          log,
          random: Math.random,
        });
  const composing = composeGateway({
    connections: services.connections,
    apps: services.apps,
    events: createEventFeed(pool),
    providers: createProviderDirectory(services.providers),
    ...(tokenNotices !== undefined && {
      tokenCache: { seconds: config.tokenCacheSeconds, notices: tokenNotices },
    }),
    refreshEngine: createTemporalRefreshEngine({
      client,
      taskQueue: config.temporal.taskQueues.refresh,
      workflowExecutionTimeoutMs: config.temporal.refresh.workflowExecutionHours * msPerHour,
      requestEagerStart: temporal.requestEagerStart,
      tracer,
    }),
    revocationEngine: createTemporalRevocationEngine({
      client,
      taskQueue: config.temporal.taskQueues.sweep,
    }),
    callers,
    clock: systemClock,
    databaseClock: services.databaseClock,
    log,
    metrics,
    tracer,
    build: temporal.build,
    logHttpRequests: config.log.httpRequests,
    debugRequests: config.log.debugRequests,
    host: config.http.host,
    port: config.http.port,
    ...(tls !== undefined && { tls }),
    metricsPort: config.metrics.port,
    bufferSizes: config.http,
    checks: {
      postgres: () => pool.query('select 1'),
      temporal: temporal.probe ?? (() => probeTemporal(client())),
    },
  });
  try {
    const gateway = await composing;
    return {
      ...gateway,
      tokenNotices,
      async close() {
        await gateway.close();
        tls?.close();
        watch?.close();
        await tokenNotices?.close();
      },
    };
  } catch (error) {
    tls?.close();
    watch?.close();
    await tokenNotices?.close();
    throw error;
  }
}

/** Rejects unless Temporal answers within 2 s; tells a namespace that is not there apart. */
export async function probeTemporal(client: Client | undefined): Promise<CheckState> {
  if (client === undefined) throw new Error('there is no connection to Temporal');
  const { namespace } = client.options;
  try {
    await client.withDeadline(Date.now() + probeDeadlineMs, () =>
      client.workflowService.describeNamespace({ namespace }),
    );
    return 'ok';
  } catch (error) {
    if (isNamespaceMissing(error)) return 'namespace_not_found';
    throw error;
  }
}
