import { isLoopback } from './listen-settings.ts';
import { quoted, type Settings } from './settings.ts';

const keyNamePattern =
  /^projects\/[a-z0-9][a-z0-9.:-]{0,127}\/locations\/[A-Za-z0-9-]{1,63}\/keyRings\/[A-Za-z0-9_-]{1,63}\/cryptoKeys\/[A-Za-z0-9_-]{1,63}$/;
const keyNameForm = 'projects/…/locations/…/keyRings/…/cryptoKeys/…';
const providerNames = ['google-kms', 'local'] as const;

export interface GoogleKmsConfig {
  /** The crypto key that wraps new data keys. */
  keyName: string;
  /** Further ones that unwrap, beside those of its project. */
  otherKeyNames: string[];
  /** Undefined: Google's own. `host` has IPv6 in brackets. */
  endpoint: { host: string; port: number; isPlaintext: boolean } | undefined;
}

/** Where the keys that wrap data keys are. One provider at least; both while data keys move. */
export interface KeysConfig {
  /** The name of the provider that wraps new data keys; the other one only unwraps. */
  wrapping: (typeof providerNames)[number];
  googleKms: GoogleKmsConfig | undefined;
  /** A file of 32 bytes in base64. */
  localKeyFile: string | undefined;
}

export function readKeys(settings: Settings): KeysConfig {
  const localKeyFile = readLocalKeyFile(settings);
  const googleKms = readGoogleKms(settings);
  if (localKeyFile === undefined && googleKms === undefined) {
    settings.fault(
      'LOCAL_KEY_FILE',
      'is not set, nor is KMS_KEY_NAME; name a Cloud KMS key, or a file of 32 random bytes in base64',
    );
  }
  return { wrapping: readWrapping(settings, { localKeyFile, googleKms }), localKeyFile, googleKms };
}

function readWrapping(
  settings: Settings,
  { localKeyFile, googleKms }: Pick<KeysConfig, 'localKeyFile' | 'googleKms'>,
): KeysConfig['wrapping'] {
  const natural = googleKms === undefined ? 'local' : 'google-kms';
  const wrapping = settings.oneOf('KEY_PROVIDER', providerNames, natural);
  if (wrapping === 'google-kms' && googleKms === undefined) {
    settings.fault('KEY_PROVIDER', 'is google-kms without KMS_KEY_NAME; set that too');
  }
  if (wrapping === 'local' && localKeyFile === undefined && googleKms !== undefined) {
    settings.fault('KEY_PROVIDER', 'is local without LOCAL_KEY_FILE; set that too');
  }
  return wrapping;
}

function readLocalKeyFile(settings: Settings): string | undefined {
  const path = settings.readablePath('LOCAL_KEY_FILE');
  const isAllowed = settings.boolean('ALLOW_LOCAL_KEYS', false);
  if (path !== undefined && isProduction(settings) && !isAllowed) {
    settings.fault(
      'LOCAL_KEY_FILE',
      'keeps the key beside the service, and NODE_ENV is production; ' +
        'set ALLOW_LOCAL_KEYS=true if that is meant',
    );
  }
  return path;
}

function readGoogleKms(settings: Settings): GoogleKmsConfig | undefined {
  const keyName = settings.text('KMS_KEY_NAME');
  const endpoint = readEndpoint(settings);
  const otherKeyNames = settings.list('KMS_OTHER_KEY_NAMES');
  if (keyName === undefined) {
    for (const name of ['KMS_API_ENDPOINT', 'KMS_OTHER_KEY_NAMES']) {
      if (settings.text(name) === undefined) continue;
      settings.fault(name, 'is set without KMS_KEY_NAME; set that too, or leave both away');
    }
    return undefined;
  }
  refuseKeyLogging(settings);
  requireKeyName(settings, 'KMS_KEY_NAME', keyName);
  for (const other of otherKeyNames) requireKeyName(settings, 'KMS_OTHER_KEY_NAMES', other);
  return { keyName, otherKeyNames, endpoint };
}

function requireKeyName(settings: Settings, setting: string, name: string): void {
  if (keyNamePattern.test(name)) return;
  settings.fault(
    setting,
    name.includes('/cryptoKeyVersions/')
      ? `is ${quoted(name)}, a version; name its key: Cloud KMS takes the primary version of it`
      : `is ${quoted(name)}; set ${keyNameForm}`,
  );
}

/**
 * `host`, `host:port` or an https URL of those. Plain http only to this machine, where the tests' server
 * is: data keys cross it in clear, and no credentials are sent.
 */
function readEndpoint(settings: Settings): GoogleKmsConfig['endpoint'] {
  const text = settings.text('KMS_API_ENDPOINT');
  if (text === undefined) return undefined;
  const full = text.includes('://') ? text : `https://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  const isPlaintext = url?.protocol === 'http:';
  const isBare =
    url !== undefined &&
    (isPlaintext || url.protocol === 'https:') &&
    `${url.username}${url.password}${url.search}${url.hash}` === '' &&
    url.pathname === '/';
  if (!isBare) {
    settings.fault('KMS_API_ENDPOINT', `is ${quoted(text)}; set host or host:port, without a path`);
    return undefined;
  }
  if (isPlaintext && !isLoopback(url.hostname.replace(/^\[(.*)\]$/, '$1'))) {
    settings.fault(
      'KMS_API_ENDPOINT',
      `is ${quoted(text)}, plain http beyond this machine; set https`,
    );
  }
  if (isPlaintext && isProduction(settings)) {
    settings.fault(
      'KMS_API_ENDPOINT',
      `is ${quoted(text)}, and NODE_ENV is production; set https, for data keys would cross it in clear`,
    );
  }
  const port = url.port === '' ? (isPlaintext ? 80 : 443) : Number(url.port);
  return { host: url.hostname, port, isPlaintext };
}

/** What the client library prints then are its requests and answers: data keys in clear. */
function refuseKeyLogging(settings: Settings): void {
  if (settings.text('GOOGLE_SDK_NODE_LOGGING') === undefined) return;
  settings.fault(
    'GOOGLE_SDK_NODE_LOGGING',
    'makes the client of Cloud KMS print data keys; unset it',
  );
}

function isProduction(settings: Settings): boolean {
  return settings.text('NODE_ENV') === 'production';
}
