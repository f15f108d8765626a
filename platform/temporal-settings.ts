import {
  loadClientConfigProfile,
  toClientOptions,
  type ClientConfigProfile,
  type ClientConnectConfig,
} from '@temporalio/envconfig';
import type { Environment, Settings } from './settings.ts';

const defaultAddress = 'localhost:7233';
const pathVariables = [
  'TEMPORAL_CONFIG_FILE',
  'TEMPORAL_TLS_CLIENT_CERT_PATH',
  'TEMPORAL_TLS_CLIENT_KEY_PATH',
  'TEMPORAL_TLS_SERVER_CA_CERT_PATH',
];

export interface TemporalConnectionConfig {
  /** `host:port` of the frontend. */
  address: string;
  namespace: string;
  /**
   * For `Connection.connect` and `NativeConnection.connect`. A function, because it holds the API key
   * and the client's private key, which a printed configuration must not show.
   */
  connectionOptions: () => ClientConnectConfig['connectionOptions'];
}

/**
 * TEMPORAL_* over the profile of temporal.toml (@temporalio/envconfig) over `fileNamespace`, the
 * namespace of temporal.config.json. TEMPORAL_API_KEY_FILE is ours: a file that holds the API key.
 */
export function readTemporal(
  settings: Settings,
  env: Environment,
  fileNamespace: string,
): TemporalConnectionConfig {
  // envconfig takes every other value for "off".
  settings.oneOf('TEMPORAL_TLS', ['true', 'false', '1', '0'], 'false');
  refuseWithoutEffect(settings);
  for (const name of pathVariables) {
    // envconfig would name neither the variable nor what to do.
    if (settings.text(name) !== undefined && !settings.isReadable(name)) {
      return unusable(fileNamespace);
    }
  }
  const apiKey = settings.secret('TEMPORAL_API_KEY');
  try {
    const profile = loadClientConfigProfile({
      overrideEnvVars: present({ ...env, TEMPORAL_API_KEY: apiKey?.reveal() }),
      configFileStrict: true,
    });
    checkClientCertificate(settings, profile);
    const options = toClientOptions(profile);
    const address = profile.address ?? defaultAddress;
    if (!/^[^\s/]+$/.test(address)) {
      settings.fault('TEMPORAL_ADDRESS', 'is not host:port; leave the scheme and the path away');
    }
    const connectionOptions = { ...options.connectionOptions, address };
    return {
      address,
      namespace: options.namespace ?? fileNamespace,
      connectionOptions: () => connectionOptions,
    };
  } catch (error) {
    settings.fault('TEMPORAL_*', `or temporal.toml cannot be used: ${firstLine(error)}`);
    return unusable(fileNamespace);
  }
}

/** Stands in beside a fault, so that the others can be found too. */
function unusable(namespace: string): TemporalConnectionConfig {
  return {
    address: defaultAddress,
    namespace,
    connectionOptions: () => ({ address: defaultAddress }),
  };
}

/** What envconfig reads and the TypeScript SDK then drops without a word. */
function refuseWithoutEffect(settings: Settings): void {
  const isUnverified = 'TEMPORAL_TLS_DISABLE_HOST_VERIFICATION';
  if (
    !['false', '0'].includes(settings.oneOf(isUnverified, ['true', 'false', '1', '0'], 'false'))
  ) {
    settings.fault(
      isUnverified,
      'has no effect: the host is verified always; unset it, and name the host that the ' +
        "server's certificate holds in TEMPORAL_TLS_SERVER_NAME",
    );
  }
  for (const name of ['TEMPORAL_CODEC_ENDPOINT', 'TEMPORAL_CODEC_AUTH']) {
    if (settings.text(name) !== undefined) {
      settings.fault(name, 'has no effect: payloads hold references only; unset it');
    }
  }
}

/** envconfig drops a certificate without its key, and the server would then refuse the connection. */
function checkClientCertificate(settings: Settings, profile: ClientConfigProfile): void {
  const { clientCert, clientKey } = profile.tls ?? {};
  if ((clientCert === undefined) === (clientKey === undefined)) return;
  const [missing, there] =
    clientCert === undefined
      ? ['TEMPORAL_TLS_CLIENT_CERT_PATH', 'key']
      : ['TEMPORAL_TLS_CLIENT_KEY_PATH', 'certificate'];
  settings.fault(missing, `is not set, though the client's ${there} is; set both`);
}

/** What follows the first line of a TOML error quotes the file, API key and all. */
function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : 'unknown reason';
}

function present(env: Environment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
