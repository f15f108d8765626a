import pg from 'pg';
import { createAppRegistry } from '../connections/app-registry.ts';
import { createBulkImport, type BulkImport } from '../connections/bulk-import.ts';
import {
  createConnectionRegistry,
  type ConnectionRegistryDependencies,
} from '../connections/connection-registry.ts';
import type { AppRegistry, ConnectionRegistry } from '../connections/registry.ts';
import type { TokenVault } from '../connections/token-vault.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../oauth/provider-catalogue.ts';
import { createDatabaseClock, systemClock } from '../platform/clock.ts';
import { createLogger } from '../platform/log.ts';
import { createMetrics } from '../platform/metrics.ts';
import { createVault } from '../vault/create-vault.ts';
import { loadLocalKey } from '../vault/local-key-file.ts';
import { createKeyProviders } from '../vault/key-provider.ts';
import { createLocalKeyProvider } from '../vault/local-key-provider.ts';

/** The stores of the service over one database, in this process. */
export interface Stores {
  url: string;
  pool: pg.Pool;
  vault: TokenVault;
  apps: AppRegistry;
  connections: ConnectionRegistry;
  importMany: BulkImport;
  /** What `connections` is made of. */
  dependencies: ConnectionRegistryDependencies;
  stop(): Promise<void>;
}

/** One for the process, which has one standard output. */
const log = createLogger({ subsystem: 'bench', level: 'warn', pretty: false });

export async function openStores(options: {
  url: string;
  keyFile: string;
  connectionsMax: number;
}): Promise<Stores> {
  const { url } = options;
  const pool = new pg.Pool({ connectionString: url, max: options.connectionsMax });
  const vault = createVault({
    pool,
    keyProviders: createKeyProviders(createLocalKeyProvider(await loadLocalKey(options.keyFile))),
    clock: systemClock,
    metrics: createMetrics({ subsystem: 'bench' }),
    log,
  });
  const providers = createProviderCatalogue({ builtIn: loadBuiltInProviders() });
  const apps = createAppRegistry({ store: pool, vault, providers });
  const dependencies = {
    store: pool,
    vault,
    apps,
    providers,
    clock: systemClock,
    databaseClock: createDatabaseClock(systemClock),
    random: Math.random,
  };
  return {
    url,
    pool,
    vault,
    apps,
    connections: createConnectionRegistry(dependencies),
    importMany: createBulkImport(dependencies),
    dependencies,
    stop: () => pool.end(),
  };
}
