import type pg from 'pg';
import { createBulkImport, type BulkImport } from '../connections/bulk-import.ts';
import { createAppRegistry } from '../connections/app-registry.ts';
import { createConnectionRegistry } from '../connections/connection-registry.ts';
import type { AppRegistry, ConnectionRegistry } from '../connections/registry.ts';
import type { TokenVault } from '../connections/token-vault.ts';
import type { ProviderCatalogue } from '../oauth/provider-catalogue.ts';
import { createDatabaseClock, systemClock, type DatabaseClock } from '../platform/clock.ts';
import type { Config } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Tracer } from '../platform/tracer.ts';
import { createPostgresPool } from '../platform/postgres-pool.ts';
import { createVault } from '../vault/create-vault.ts';
import { loadKeyProviders } from './load-key-providers.ts';
import { createDataKeyStore, type DataKeyStore } from '../vault/data-key-store.ts';
import { loadProviders } from './load-providers.ts';
import type { WebhookEndpoint } from '../connections/webhook-settings.ts';
import { loadWebhooks } from './load-webhooks.ts';
import { prepareDatabase, requireDatabase } from './prepare-database.ts';

/** What gateway and worker of one process share. */
export interface Services {
  config: Config;
  log: Logger;
  metrics: Metrics;
  tracer: Tracer;
  databaseClock: DatabaseClock;
  pool: pg.Pool;
  vault: TokenVault;
  dataKeys: DataKeyStore;
  providers: ProviderCatalogue;
  apps: AppRegistry;
  connections: ConnectionRegistry;
  importConnections: BulkImport;
  /** Those of WEBHOOKS_FILE now. */
  webhookEndpoints: () => readonly WebhookEndpoint[];
  /**
   * Waits for PostgreSQL, refuses one that could forget tokens, and migrates or checks the schema; see
   * prepareDatabase. Until it has resolved the stores answer `store_unavailable`.
   */
  prepare(options: { allowVolatile: boolean; signal: AbortSignal }): Promise<void>;
  /** The same for a command, once: see requireDatabase. */
  requireDatabase(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Constructs the stores and the vault, without asking the database yet. Throws what names the setting
 * at fault: a key file, a provider definition.
 */
export async function composeServices(given: {
  config: Config;
  log: Logger;
  metrics: Metrics;
  tracer: Tracer;
}): Promise<Services> {
  const { config, log, metrics } = given;
  const keyProviders = await loadKeyProviders(config.keys);
  const { providers, watch } = loadProviders(config.providersFile, log);
  const webhooks = loadWebhooks(config.webhooksFile, log);
  const databaseClock = createDatabaseClock(systemClock);
  let isPrepared = false;
  const pool = createPostgresPool({
    url: config.database.url,
    applicationName: config.subsystemName,
    log,
    isPrepared: () => isPrepared,
  });
  const vault = createVault({ pool, keyProviders, clock: systemClock, metrics, log });
  const apps = createAppRegistry({ store: pool, vault, providers });
  const stores = {
    store: pool,
    vault,
    apps,
    providers,
    clock: systemClock,
    databaseClock,
    random: Math.random,
  };
  return {
    ...given,
    databaseClock,
    pool,
    vault,
    dataKeys: createDataKeyStore(pool),
    providers,
    apps,
    connections: createConnectionRegistry(stores),
    importConnections: createBulkImport(stores),
    webhookEndpoints: webhooks.endpoints,
    async prepare(options) {
      await prepareDatabase({ ...options, database: config.database, log });
      isPrepared = true;
    },
    async requireDatabase() {
      await requireDatabase(config.database);
      isPrepared = true;
    },
    async close() {
      watch?.close();
      webhooks.watch?.close();
      await pool.end();
    },
  };
}
