import { createAppRegistry } from '../../connections/app-registry.ts';
import type { InputFault } from '../../client/contract.ts';
import { systemClock } from '../../platform/clock.ts';
import type { Config } from '../../platform/config.ts';
import { createLogger } from '../../platform/log.ts';
import { createPostgresPool } from '../../platform/postgres-pool.ts';
import { createLazyTemporalConnection } from '../../platform/temporal-connections.ts';
import { readProviders } from '../load-providers.ts';
import { checkCertificates } from './check-certificates.ts';
import { checkDatabase } from './check-database.ts';
import { checkFiles } from './check-files.ts';
import { checkKeys } from './check-keys.ts';
import { checkListen } from './check-listen.ts';
import { checkProviders } from './check-providers.ts';
import { checkSettings } from './check-settings.ts';
import { checkTemporal } from './check-temporal.ts';
import { reporterOf, type Finding } from './finding.ts';
import { runChecks, type Check } from './run-checks.ts';

const wallMs = (): number => systemClock.wallMs();

/**
 * Looks at everything a process needs, at most 20 s long, and changes nothing. Rejects never: what is
 * away or at fault is a finding.
 */
export async function examine(config: Config, faults: InputFault[]): Promise<Finding[]> {
  const settings: Check = {
    name: 'settings',
    run: () => Promise.resolve(checkSettings(config, faults)),
  };
  const files: Check = { name: 'files', run: () => checkFiles(config.files) };
  const opened: (() => Promise<unknown>)[] = [];
  const checks = [
    settings,
    ...databaseChecks(config, faults, opened),
    ...temporalChecks(config, faults, opened),
    certificateCheck(config, faults),
    files,
  ];
  try {
    return await runChecks(checks);
  } finally {
    await Promise.allSettled(opened.map((close) => close()));
  }
}

/** What asks PostgreSQL, or is skipped where its settings are at fault. */
function databaseChecks(
  config: Config,
  faults: InputFault[],
  opened: (() => Promise<unknown>)[],
): Check[] {
  const { database } = config;
  const keysAreNamed = !isAtFault(faults, /^(?:LOCAL_KEY_FILE|KEY_PROVIDER|KMS_|GOOGLE_)/);
  const keys = (pool: Parameters<typeof checkKeys>[1]): Check =>
    keysAreNamed
      ? { name: 'keys', run: () => checkKeys(config.keys, pool) }
      : skipped('keys', 'their settings are at fault');
  if (isAtFault(faults, /^(?:DATABASE_|PG)/)) {
    const why = 'its settings are at fault';
    return [skipped('database', why), keys(undefined), skipped('providers', why)];
  }
  const log = createLogger({ subsystem: config.subsystemName, level: 'silent', pretty: false });
  const pool = createPostgresPool({
    url: database.url,
    applicationName: `${config.subsystemName} doctor`,
    log,
    isPrepared: () => true,
  });
  opened.push(() => pool.end());
  return [
    { name: 'database', run: () => checkDatabase(pool, database, wallMs) },
    { name: 'listen', run: () => checkListen(pool, database, config.tokenCacheSeconds) },
    keys(pool),
    { name: 'providers', run: () => checkAppHosts(config, pool) },
  ];
}

function checkAppHosts(
  config: Config,
  store: Parameters<typeof createAppRegistry>[0]['store'],
): Promise<Finding[]> {
  const { providers } = readProviders(config.providersFile);
  // Listing apps seals and opens nothing: the doctor works without the key.
  const closed = () => Promise.reject(new Error('the doctor opens no secret'));
  const vault = { sealer: closed, open: closed, forgetCurrentKeys: () => undefined };
  return checkProviders({
    apps: createAppRegistry({ store, vault, providers }),
    providers,
    egressAllow: config.egressAllow,
  });
}

function temporalChecks(
  config: Config,
  faults: InputFault[],
  opened: (() => Promise<unknown>)[],
): Check[] {
  if (isAtFault(faults, /^TEMPORAL_/)) return [skipped('temporal', 'its settings are at fault')];
  const connection = createLazyTemporalConnection(config.temporal);
  opened.push(() => connection.close());
  return [
    {
      name: 'temporal',
      run: () => checkTemporal(connection, config.temporal, wallMs),
    },
  ];
}

function certificateCheck({ tls }: Config, faults: InputFault[]): Check {
  return isAtFault(faults, /^M?TLS_/)
    ? skipped('certificates', 'its settings are at fault')
    : { name: 'certificates', run: () => checkCertificates(tls, wallMs) };
}

function isAtFault(faults: InputFault[], pattern: RegExp): boolean {
  return faults.some((fault) => 'parameter' in fault && pattern.test(fault.parameter));
}

function skipped(name: string, why: string): Check {
  const finding = reporterOf(name).warning(`not checked: ${why}`, 'see settings');
  return { name, run: () => Promise.resolve([finding]) };
}
