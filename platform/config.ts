import { readFileSync } from 'node:fs';
import type { InputFault } from '../client/contract.ts';
import { callersWarnings, readCallers, type CallersConfig } from './callers-settings.ts';
import { readConfigFile, throwFaults, type ConfigFile } from './config-file.ts';
import { libpqWarnings, readDatabase, type DatabaseConfig } from './database-settings.ts';
import { readEgressAllow } from './egress-settings.ts';
import { readKeys, type KeysConfig } from './key-settings.ts';
import { readListen, type ListenConfig } from './listen-settings.ts';
import { logLevels, type LogLevel } from './log.ts';
import {
  createSettings,
  quoted,
  type Environment,
  type NamedFile,
  type Settings,
} from './settings.ts';
import { readTracing, type TracingConfig } from './trace-settings.ts';
import { readTemporal, type TemporalConnectionConfig } from './temporal-settings.ts';
import { readTls, tlsWarnings, type TlsConfig } from './tls-settings.ts';

const tokenCacheDefaultSeconds = 5;
/** As long as a cached token is kept for an outage of PostgreSQL. */
const tokenCacheMaxSeconds = 300;

/** Which requests are logged at length: none, those that ask for it, every one. */
export type DebugRequests = 'never' | 'asked' | 'always';

const secretPaths = [
  'LOCAL_KEY_FILE',
  'TLS_KEY_FILE',
  'MTLS_KEY_FILE',
  'TEMPORAL_TLS_CLIENT_KEY_PATH',
  'WEBHOOKS_FILE',
];
const trustedPaths = ['CALLERS_FILE', 'PROVIDERS_FILE', 'WEBHOOKS_FILE', 'MTLS_CLIENT_CERT_FILE'];

/** Everything a process is told at its start. Prints without secrets. */
export interface Config extends ListenConfig {
  tls: TlsConfig;
  /** Service name in logs, metrics and /build. */
  subsystemName: string;
  log: { level: LogLevel; httpRequests: boolean; debugRequests: DebugRequests };
  /** Undefined: spans are not exported. */
  tracing: TracingConfig | undefined;
  database: DatabaseConfig;
  callers: CallersConfig;
  /** How long the gateway answers from memory without a SELECT; 0: never, and no stale service. */
  tokenCacheSeconds: number;
  keys: KeysConfig;
  /** See readEgressAllow. */
  egressAllow: string[];
  /** More provider definitions, JSON; absent: only the catalogue. */
  providersFile: string | undefined;
  /** Webhook endpoints with their secrets, JSON; absent: none. */
  webhooksFile: string | undefined;
  temporal: TemporalConnectionConfig &
    Pick<
      ConfigFile,
      | 'taskQueues'
      | 'searchAttributes'
      | 'retentionMs'
      | 'nexusEndpoint'
      | 'worker'
      | 'refresh'
      | 'sweep'
    >;
  files: {
    /** Whoever reads one of these holds a secret of the service. */
    secret: NamedFile[];
    /** Whoever writes one of these decides whom the service trusts. */
    trusted: NamedFile[];
  };
  /** What was set and has no effect; to be logged once there is a log. */
  warnings: string[];
}

export interface ConfigSources {
  /** Defaults to the environment of this process. */
  env?: Environment;
  /** What npm start sets for itself, where the environment says nothing. */
  defaults?: Environment;
  /** Path of temporal.config.json; the one beside package.json by default, and it may be missing. */
  configFile?: string;
  readFile?: (path: string) => string;
}

/**
 * The environment over temporal.config.json over defaults. Throws one `input_validation` that lists
 * every fault: what is wrong and what to set.
 */
export function loadConfig(sources: ConfigSources = {}): Config {
  const { config, faults } = readConfig(sources);
  throwFaults(faults);
  return config;
}

/** The same without throwing: where a setting is at fault its default or nothing stands in. */
export function readConfig(sources: ConfigSources = {}): { config: Config; faults: InputFault[] } {
  const { env = process.env, defaults = {}, readFile = readUtf8 } = sources;
  const merged = mergeEnvironments(env, defaults);
  const settings = createSettings(merged, readFile);
  const { file, faults } = readConfigFile({ path: sources.configFile, readFile: sources.readFile });
  const tls = readTls(settings, readFile);
  const callers = readCallers(settings, tls.mode === 'mtls');
  const callersAreKnown = callers.file !== undefined || callers.byCertificate;
  const config: Config = {
    tls,
    callers,
    ...readListen(settings, { callersAreKnown }),
    subsystemName: readSubsystemName(settings),
    log: {
      level: settings.oneOf('LOG_LEVEL', logLevels, 'info'),
      httpRequests: settings.boolean('LOG_HTTP_REQUESTS', true),
      debugRequests: readDebugRequests(settings),
    },
    tracing: readTracing(settings),
    database: readDatabase(settings),
    tokenCacheSeconds: settings.integer('TOKEN_CACHE_SECONDS', {
      absent: tokenCacheDefaultSeconds,
      min: 0,
      max: tokenCacheMaxSeconds,
    }),
    keys: readKeys(settings),
    egressAllow: readEgressAllow(settings),
    providersFile: settings.readablePath('PROVIDERS_FILE'),
    webhooksFile: settings.readablePath('WEBHOOKS_FILE'),
    temporal: {
      ...readTemporal(settings, merged, file.namespace),
      taskQueues: file.taskQueues,
      searchAttributes: file.searchAttributes,
      retentionMs: file.retentionMs,
      nexusEndpoint: file.nexusEndpoint,
      worker: file.worker,
      refresh: file.refresh,
      sweep: file.sweep,
    },
    files: {
      secret: [...settings.secretFiles, ...namedFiles(settings, secretPaths)],
      trusted: namedFiles(settings, trustedPaths),
    },
    warnings: [
      ...readWarnings(settings),
      ...tlsWarnings(settings, tls),
      ...callersWarnings(settings, callers),
      ...warnOfShortGrace(file),
    ],
  };
  return { config, faults: [...settings.faults, ...faults] };
}

function namedFiles(settings: Settings, names: readonly string[]): NamedFile[] {
  return names.flatMap((setting) => {
    const path = settings.text(setting);
    return path === undefined ? [] : [{ setting, path }];
  });
}

function readSubsystemName(settings: Settings): string {
  const name = settings.text('SUBSYSTEM_NAME') ?? 'token-manager';
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) {
    settings.fault('SUBSYSTEM_NAME', `is ${quoted(name)}; set 1 to 64 of A-Z a-z 0-9 . _ -`);
  }
  return name;
}

function readDebugRequests(settings: Settings): DebugRequests {
  const isAllowed = settings.boolean('DEBUG_REQUESTS_ALLOWED', false);
  const isRequired = settings.boolean('DEBUG_REQUESTS_REQUIRED', false);
  if (isRequired && !isAllowed) {
    settings.fault(
      'DEBUG_REQUESTS_REQUIRED',
      'is true without DEBUG_REQUESTS_ALLOWED; set that to true as well, or leave both away',
    );
  }
  if (isRequired) return 'always';
  return isAllowed ? 'asked' : 'never';
}

function readWarnings(settings: Settings): string[] {
  const warnings = [...libpqWarnings(settings)];
  if (!settings.boolean('FIBER_IMMUTABLE', true)) {
    warnings.push('FIBER_IMMUTABLE=false has no effect: request values are immutable always');
  }
  return warnings;
}

/** A worker that ends sooner aborts a call whose refresh token the provider may have spent. */
function warnOfShortGrace({ worker, refresh }: ConfigFile): string[] {
  const longestSeconds = Math.max(...Object.values(refresh.deadlineSeconds));
  const { shutdownGraceSeconds } = worker;
  return shutdownGraceSeconds >= longestSeconds
    ? []
    : [
        `worker.shutdownGraceSeconds is ${shutdownGraceSeconds}, less than the longest of ` +
          `refresh.deadlineSeconds, ${longestSeconds}: a worker that stops aborts calls in flight`,
      ];
}

function mergeEnvironments(env: Environment, defaults: Environment): Environment {
  const set = Object.entries(env).filter(([, value]) => value !== undefined && value !== '');
  return { ...defaults, ...Object.fromEntries(set) };
}

function readUtf8(path: string): string {
  return readFileSync(path, 'utf8');
}
