import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import { createHttpServer } from '../../gateway/http-server.ts';
import { systemClock } from '../../platform/clock.ts';
import { createEgressGuard, parseEgressAllow } from '../../oauth/egress.ts';
import { loadConfig, type Config } from '../../platform/config.ts';
import { listen } from '../../platform/listen.ts';
import type { Environment } from '../../platform/settings.ts';

/*
 * The table of settings, a claim or more for every row: what it is when absent, what it does, what is
 * refused. A row without a claim, or a variable that the README does not name, is red here. Effects
 * that need PostgreSQL or Temporal have tests of their own, named beside the row.
 */

const rows = [
  ['PORT'],
  ['HOST'],
  ['METRICS_PORT', 'PPROF_PORT', 'PPROF_HOST'],
  ['SUBSYSTEM_NAME'],
  ['TLS_MODE'],
  ['TLS_CERT_FILE', 'TLS_KEY_FILE'],
  ['MTLS_CERT_FILE', 'MTLS_KEY_FILE'],
  ['MTLS_CLIENT_CERT_FILE'],
  ['LOG_HTTP_REQUESTS'],
  ['DEBUG_REQUESTS_ALLOWED'],
  ['DEBUG_REQUESTS_REQUIRED'],
  ['FIBER_READ_BUFFER_SIZE'],
  ['FIBER_WRITE_BUFFER_SIZE'],
  ['FIBER_IMMUTABLE'],
  ['DATABASE_URL', 'PG*'],
  ['DATABASE_LISTEN_URL'],
  ['MIGRATE_ON_START'],
  ['TEMPORAL_*', 'temporal.toml'],
  ['KMS_KEY_NAME', 'KMS_API_ENDPOINT', 'KMS_OTHER_KEY_NAMES'],
  ['LOCAL_KEY_FILE', 'ALLOW_LOCAL_KEYS', 'KEY_PROVIDER'],
  ['TOKEN_CACHE_SECONDS'],
  ['EGRESS_ALLOW'],
  ['CALLERS_FILE', 'PROVIDERS_FILE', 'WEBHOOKS_FILE', 'ALLOW_ANONYMOUS_CALLERS'],
] as const;
type Variable = (typeof rows)[number][number];

const folder = mkdtempSync(join(tmpdir(), 'settings-table-'));
afterAll(() => rmSync(folder, { recursive: true }));

function fileWith(name: string, contents: string): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

const keyFile = fileWith('local.key', 'its contents are read later');
const missing = join(folder, 'missing');
const enough: Environment = {
  DATABASE_URL: 'postgres://app@db.internal/tokens',
  LOCAL_KEY_FILE: keyFile,
};

function load(env: Environment = {}, file = '{}'): Config {
  return loadConfig({
    env: { ...enough, ...env },
    configFile: fileWith('temporal.config.json', file),
  });
}

/** Every fault as `<variable> <what is wrong; what to do>`; empty: the configuration is taken. */
function faultsOf(env: Environment, file?: string): string[] {
  try {
    load(env, file);
    return [];
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    return (error.errors ?? []).map(
      (fault) => `${'parameter' in fault ? fault.parameter : fault.pointer} ${fault.detail}`,
    );
  }
}

/** Each of the values is refused, by a fault that names the variable and says what to set. */
function refuses(variable: string, values: string[], others: Environment = {}): void {
  for (const value of values) {
    const faults = faultsOf({ ...others, [variable]: value });
    const label = `${variable}=${value}`;
    expect(
      faults.some((fault) => fault.startsWith(variable)),
      label,
    ).toBe(true);
    expect(faults.join('\n'), label).toMatch(/set |name |unset |leave |can only be|give |put /);
  }
}

const takesPort = (variable: string, read: (config: Config) => number, absent: number) => {
  expect(read(load())).toBe(absent);
  expect(read(load({ [variable]: '4321' }))).toBe(4_321);
  expect(read(load({ [variable]: '0' }))).toBe(0);
  refuses(variable, ['http', '-1', '65536', '80.5', '0x50']);
};

const takesBoolean = (variable: string, read: (config: Config) => boolean, absent: boolean) => {
  expect([read(load()), read(load({ [variable]: '' }))]).toEqual([absent, absent]);
  expect(read(load({ [variable]: 'true' }))).toBe(true);
  expect(read(load({ [variable]: 'false' }))).toBe(false);
  refuses(variable, ['TRUE', 'yes', '1', ' true']);
};

const keyName = 'projects/p/locations/l/keyRings/r/cryptoKeys/k';
/** Cloud KMS without a local key file. */
const kms: Environment = { LOCAL_KEY_FILE: '', KMS_KEY_NAME: keyName };

const claims: Record<Variable, Record<string, () => void | Promise<void>>> = {
  PORT: {
    'is 8080, any port, or 0 for a free one': () => takesPort('PORT', (c) => c.http.port, 8_080),
  },
  HOST: {
    'is loopback, and beyond it only with leave': () => {
      expect(load().http.host).toBe('127.0.0.1');
      expect(load({ HOST: '::1' }).http.host).toBe('::1');
      refuses('HOST', ['0.0.0.0', '10.0.0.7', 'http://x', 'a b']);
    },
  },
  METRICS_PORT: {
    'is 9994; 0 turns it off': () => takesPort('METRICS_PORT', (c) => c.metrics.port, 9_994),
    'shares no port': () => refuses('METRICS_PORT', ['8080']),
  },
  PPROF_PORT: {
    'is 6064; 0 turns it off': () => takesPort('PPROF_PORT', (c) => c.pprof.port, 6_064),
    'shares no port': () => refuses('PPROF_PORT', ['9994', '8080']),
  },
  PPROF_HOST: {
    'is loopback unless set': () => {
      expect(load().pprof.host).toBe('127.0.0.1');
      expect(load({ PPROF_HOST: '0.0.0.0' }).pprof.host).toBe('0.0.0.0');
      refuses('PPROF_HOST', ['a b', '127.0.0.1:6064']);
    },
  },
  SUBSYSTEM_NAME: {
    'is token-manager, or a name that fits logs and metrics': () => {
      expect(load().subsystemName).toBe('token-manager');
      expect(load({ SUBSYSTEM_NAME: 'tokens.eu-1' }).subsystemName).toBe('tokens.eu-1');
      refuses('SUBSYSTEM_NAME', ['a b', 'a"b', 'x'.repeat(65)]);
    },
  },
  TLS_MODE: {
    'is one of three words': () => {
      expect(faultsOf({ TLS_MODE: 'disabled' })).toEqual([]);
      refuses('TLS_MODE', ['tls', 'ENABLED', 'true', 'mTLS']);
    },
  },
  TLS_CERT_FILE: {
    'is needed with TLS_MODE=enabled': () => {
      expect(faultsOf({ TLS_MODE: 'enabled', TLS_KEY_FILE: keyFile })).not.toEqual([]);
      expect(faultsOf({ TLS_MODE: 'enabled', TLS_CERT_FILE: missing })).not.toEqual([]);
    },
  },
  TLS_KEY_FILE: {
    'is needed with TLS_MODE=enabled': () => {
      expect(faultsOf({ TLS_MODE: 'enabled', TLS_CERT_FILE: keyFile })).not.toEqual([]);
      expect(faultsOf({ TLS_MODE: 'enabled', TLS_KEY_FILE: missing })).not.toEqual([]);
    },
  },
  MTLS_CERT_FILE: {
    'is needed with TLS_MODE=mtls': () => {
      expect(faultsOf({ TLS_MODE: 'mtls', MTLS_KEY_FILE: keyFile })).not.toEqual([]);
    },
  },
  MTLS_KEY_FILE: {
    'is needed with TLS_MODE=mtls': () => {
      expect(faultsOf({ TLS_MODE: 'mtls', MTLS_CERT_FILE: keyFile })).not.toEqual([]);
    },
  },
  MTLS_CLIENT_CERT_FILE: {
    'is needed with TLS_MODE=mtls': () => {
      const pair = { MTLS_CERT_FILE: keyFile, MTLS_KEY_FILE: keyFile };
      expect(faultsOf({ TLS_MODE: 'mtls', ...pair })).not.toEqual([]);
    },
  },
  LOG_HTTP_REQUESTS: {
    'is true': () => takesBoolean('LOG_HTTP_REQUESTS', (c) => c.log.httpRequests, true),
  },
  // What is logged: test/gateway/debug-requests.test.ts.
  DEBUG_REQUESTS_ALLOWED: {
    'is false, and lets callers ask': () =>
      takesBoolean('DEBUG_REQUESTS_ALLOWED', (c) => c.log.debugRequests === 'asked', false),
  },
  DEBUG_REQUESTS_REQUIRED: {
    'needs ALLOWED, and is for every request': () => {
      const ALLOWED = 'DEBUG_REQUESTS_ALLOWED';
      const { log, warnings } = load({ DEBUG_REQUESTS_REQUIRED: 'true', [ALLOWED]: 'true' });
      expect([log.debugRequests, warnings]).toEqual(['always', []]);
      expect(faultsOf({ DEBUG_REQUESTS_REQUIRED: 'true' }).join()).toContain(ALLOWED);
      refuses('DEBUG_REQUESTS_REQUIRED', ['yes'], { [ALLOWED]: 'true' });
    },
  },
  FIBER_READ_BUFFER_SIZE: {
    'is 4096 bytes': () => {
      expect(load().http.readBufferSizeBytes).toBe(4_096);
      expect(load({ FIBER_READ_BUFFER_SIZE: '8192' }).http.readBufferSizeBytes).toBe(8_192);
      refuses('FIBER_READ_BUFFER_SIZE', ['0', '4k', '-1']);
    },
    'bounds the request line and headers': async () => {
      await withServer({ readBufferSizeBytes: 2_048 }, async (port) => {
        expect(await statusOf(port, { path: '/', header: 'x'.repeat(1_500) })).toBe(200);
        expect(await statusOf(port, { path: '/', header: 'x'.repeat(2_500) })).toBe(431);
        expect(await statusOf(port, { path: `/${'x'.repeat(2_500)}`, header: '' })).toBe(431);
      });
      await withServer({ readBufferSizeBytes: 8_192 }, async (port) => {
        expect(await statusOf(port, { path: '/', header: 'x'.repeat(6_000) })).toBe(200);
      });
    },
  },
  FIBER_WRITE_BUFFER_SIZE: {
    'is 4096 bytes': () => {
      expect(load().http.writeBufferSizeBytes).toBe(4_096);
      expect(load({ FIBER_WRITE_BUFFER_SIZE: '65536' }).http.writeBufferSizeBytes).toBe(65_536);
      refuses('FIBER_WRITE_BUFFER_SIZE', ['0', 'big']);
    },
    "is the socket's high-water mark": async () => {
      await withServer({ writeBufferSizeBytes: 12_345 }, async (port, highWaterMark) => {
        expect(await statusOf(port, { path: '/', header: '' })).toBe(200);
        expect(highWaterMark()).toBe(12_345);
      });
    },
  },
  FIBER_IMMUTABLE: {
    'is true; false is taken and warned of': () => {
      expect(load({ FIBER_IMMUTABLE: 'true' }).warnings).toEqual([]);
      expect(load({ FIBER_IMMUTABLE: 'false' }).warnings.join()).toContain('FIBER_IMMUTABLE=false');
      refuses('FIBER_IMMUTABLE', ['maybe']);
    },
  },
  DATABASE_URL: {
    'is needed, as a value or in a file, once': () => {
      const path = fileWith('database-url', 'postgres://in-file@h/d\n');
      const none = { DATABASE_URL: '' };
      expect(load().database.url.reveal()).toBe('postgres://app@db.internal/tokens');
      expect(load({ ...none, DATABASE_URL_FILE: path }).database.url.reveal()).toBe(
        'postgres://in-file@h/d',
      );
      expect(faultsOf(none)).toHaveLength(1);
      refuses('DATABASE_URL', ['db.internal:5432', 'mysql://h/d']);
      refuses('DATABASE_URL', ['postgres://h/d'], { DATABASE_URL_FILE: path });
      refuses('DATABASE_URL_FILE', [missing, fileWith('empty', '')], none);
    },
    'wins over PG*': () => {
      expect(load({ PGHOST: 'other' }).database.url.reveal()).toContain('@db.internal/');
    },
  },
  'PG*': {
    'make a URL where there is none': () => {
      const env = { DATABASE_URL: '', PGHOST: 'h', PGPORT: '6432', PGUSER: 'u', PGDATABASE: 'd' };
      const url = (more: Environment) => load({ ...env, ...more }).database.url.reveal();
      expect(url({})).toBe('postgres://u@h:6432/d');
      expect(url({ PGPASSWORD_FILE: fileWith('pw', 'secret\n'), PGSSLMODE: 'require' })).toBe(
        'postgres://u:secret@h:6432/d?sslmode=require',
      );
      refuses('PGPORT', ['x', '0'], env);
      refuses('PGPASSWORD', ['a'], { ...env, PGPASSWORD_FILE: keyFile });
      refuses('PGPASSWORD_FILE', [missing], env);
    },
    'that only libpq reads are warned of': () => {
      expect(load({ PGCHANNELBINDING: 'require', PGSERVICE: 's' }).warnings).toHaveLength(2);
    },
  },
  DATABASE_LISTEN_URL: {
    'is DATABASE_URL unless set': () => {
      expect(load().database.listenUrl.reveal()).toBe('postgres://app@db.internal/tokens');
      const path = fileWith('listen-url', 'postgres://session@h/d');
      for (const env of [
        { DATABASE_LISTEN_URL: 'postgres://session@h/d' },
        { DATABASE_LISTEN_URL_FILE: path },
      ]) {
        expect(load(env).database.listenUrl.reveal()).toBe('postgres://session@h/d');
      }
      refuses('DATABASE_LISTEN_URL', ['nowhere']);
      refuses('DATABASE_LISTEN_URL_FILE', [missing]);
    },
  },
  // What false does: test/cli/start.stack.test.ts.
  MIGRATE_ON_START: {
    'is true': () => takesBoolean('MIGRATE_ON_START', (c) => c.database.migrateOnStart, true),
  },
  'TEMPORAL_*': {
    'are as envconfig reads them, over the namespace of temporal.config.json': () => {
      const { address, namespace } = load({}, '{"namespace": "from-file"}').temporal;
      expect([address, namespace]).toEqual(['localhost:7233', 'from-file']);
      const { temporal } = load({
        TEMPORAL_ADDRESS: 't:7233',
        TEMPORAL_NAMESPACE: 'n',
        TEMPORAL_API_KEY: 'key',
        TEMPORAL_TLS_SERVER_NAME: 'sni',
        TEMPORAL_TLS_SERVER_CA_CERT_PATH: keyFile,
        TEMPORAL_GRPC_META_X_TEAM: 'tokens',
      });
      expect([temporal.address, temporal.namespace]).toEqual(['t:7233', 'n']);
      expect(temporal.connectionOptions()).toMatchObject({
        address: 't:7233',
        apiKey: 'key',
        tls: {
          serverNameOverride: 'sni',
          serverRootCACertificate: new Uint8Array(readFileSync(keyFile)),
        },
        metadata: { 'x-team': 'tokens' },
      });
    },
    'take the API key from a file too': () => {
      const path = fileWith('api-key', 'from-a-file\n');
      const options = load({ TEMPORAL_API_KEY_FILE: path }).temporal.connectionOptions();
      expect(options).toMatchObject({ apiKey: 'from-a-file', tls: true });
      refuses('TEMPORAL_API_KEY', ['a'], { TEMPORAL_API_KEY_FILE: path });
      refuses('TEMPORAL_API_KEY_FILE', [missing]);
    },
    'that would have no effect are refused': () => {
      refuses('TEMPORAL_TLS', ['yes']);
      refuses('TEMPORAL_ADDRESS', ['https://t:7233']);
      refuses('TEMPORAL_TLS_DISABLE_HOST_VERIFICATION', ['true', '1', 'no']);
      refuses('TEMPORAL_CODEC_ENDPOINT', ['http://codec']);
      for (const kind of ['CLIENT_CERT', 'CLIENT_KEY', 'SERVER_CA_CERT']) {
        refuses(`TEMPORAL_TLS_${kind}_PATH`, [missing]);
      }
    },
  },
  'temporal.toml': {
    'is read where TEMPORAL_CONFIG_FILE and TEMPORAL_PROFILE say': () => {
      const path = fileWith('temporal.toml', '[profile.eu]\naddress = "eu:7233"\n');
      const env = { TEMPORAL_CONFIG_FILE: path, TEMPORAL_PROFILE: 'eu' };
      expect(load(env).temporal.address).toBe('eu:7233');
      expect(load({ ...env, TEMPORAL_ADDRESS: 'env:1' }).temporal.address).toBe('env:1');
      expect(faultsOf({ ...env, TEMPORAL_PROFILE: 'us' })).toHaveLength(1);
      refuses('TEMPORAL_CONFIG_FILE', [missing]);
    },
  },
  // What they do: test/vault/google-key-provider.test.ts.
  KMS_KEY_NAME: {
    'is a crypto key, and wraps': () => {
      expect(load(kms).keys).toEqual({
        wrapping: 'google-kms',
        googleKms: { keyName, otherKeyNames: [] },
      });
      const scoped = keyName.replace('projects/p', 'projects/example.com:p-1');
      expect(load({ ...kms, KMS_KEY_NAME: scoped }).keys.googleKms?.keyName).toBe(scoped);
    },
    'is refused where it is none': () => {
      refuses('KMS_KEY_NAME', [
        'k',
        'projects/p/locations/l/keyRings/r',
        `${keyName}/`,
        `/${keyName}`,
      ]);
      refuses('KMS_KEY_NAME', [`${keyName}/cryptoKeyVersions/1`]);
    },
    'is enough in production': () => {
      expect(faultsOf({ ...kms, NODE_ENV: 'production' })).toEqual([]);
    },
    'does not go with a log of what is sent to it': () => {
      refuses('GOOGLE_SDK_NODE_LOGGING', ['kms', '*'], kms);
    },
  },
  KMS_API_ENDPOINT: {
    'is a host and a port, over TLS': () => {
      const endpointOf = (KMS_API_ENDPOINT: string) =>
        load({ ...kms, KMS_API_ENDPOINT }).keys.googleKms?.endpoint;
      expect(load(kms).keys.googleKms?.endpoint).toBeUndefined();
      const regional = { host: 'cloudkms.europe-west3.rep.googleapis.com', isPlaintext: false };
      expect(endpointOf(regional.host)).toEqual({ ...regional, port: 443 });
      expect(endpointOf(`https://${regional.host}:8443`)).toEqual({ ...regional, port: 8_443 });
    },
    'is plain http on loopback only, and not in production': () => {
      for (const host of ['127.0.0.1', 'localhost', '[::1]']) {
        const { keys } = load({ ...kms, KMS_API_ENDPOINT: `http://${host}:9010` });
        expect(keys.googleKms?.endpoint).toEqual({ host, port: 9_010, isPlaintext: true });
      }
      const plain = 'http://127.0.0.1:9010';
      refuses('KMS_API_ENDPOINT', ['http://kms.internal:80', 'http://10.0.0.1'], kms);
      refuses('KMS_API_ENDPOINT', [plain], { ...kms, NODE_ENV: 'production' });
    },
    'is refused with more than that, and without a key': () => {
      refuses('KMS_API_ENDPOINT', ['https://u:p@h', 'h/path', 'ftp://h', 'h:port', 'h?a=b'], kms);
      refuses('KMS_API_ENDPOINT', ['kms.internal:443']);
    },
  },
  KMS_OTHER_KEY_NAMES: {
    'are crypto keys that unwrap too': () => {
      const other = keyName.replace('projects/p', 'projects/q');
      const { keys } = load({ ...kms, KMS_OTHER_KEY_NAMES: `${other}, ${keyName}` });
      expect(keys.googleKms?.otherKeyNames).toEqual([other, keyName]);
      refuses('KMS_OTHER_KEY_NAMES', [`${other},k`], kms);
      refuses('KMS_OTHER_KEY_NAMES', [other]);
    },
  },
  // What it holds: test/vault/local-key.test.ts.
  LOCAL_KEY_FILE: {
    'is needed, and readable': () => {
      expect(load().keys).toEqual({ wrapping: 'local', localKeyFile: keyFile });
      expect(faultsOf({ LOCAL_KEY_FILE: '' }).join()).toContain('LOCAL_KEY_FILE is not set');
      refuses('LOCAL_KEY_FILE', [missing, folder]);
    },
  },
  ALLOW_LOCAL_KEYS: {
    'is what NODE_ENV=production needs': () => {
      const production = { NODE_ENV: 'production' };
      expect(faultsOf(production).join()).toContain('ALLOW_LOCAL_KEYS=true');
      expect(faultsOf({ ...production, ALLOW_LOCAL_KEYS: 'false' })).toHaveLength(1);
      expect(faultsOf({ ...production, ALLOW_LOCAL_KEYS: 'true' })).toEqual([]);
      refuses('ALLOW_LOCAL_KEYS', ['1']);
    },
  },
  KEY_PROVIDER: {
    'says which of two wraps: Cloud KMS unless it says otherwise': () => {
      const both = { KMS_KEY_NAME: keyName };
      expect(load(both).keys).toMatchObject({ wrapping: 'google-kms', localKeyFile: keyFile });
      expect(load({ ...both, KEY_PROVIDER: 'local' }).keys.wrapping).toBe('local');
      expect(load({ ...both, KEY_PROVIDER: 'google-kms' }).keys.wrapping).toBe('google-kms');
    },
    'names one that is there': () => {
      refuses('KEY_PROVIDER', ['google-kms', 'Local']);
      refuses('KEY_PROVIDER', ['local'], kms);
    },
  },
  // What 0 does: test/conformance/cache.stack.test.ts.
  TOKEN_CACHE_SECONDS: {
    'is 5, and 0 to 300': () => {
      expect(load().tokenCacheSeconds).toBe(5);
      expect(load({ TOKEN_CACHE_SECONDS: '0' }).tokenCacheSeconds).toBe(0);
      refuses('TOKEN_CACHE_SECONDS', ['301', '-1', '2.5', 'off']);
    },
  },
  EGRESS_ALLOW: {
    'is empty': () => expect(load().egressAllow).toEqual([]),
    'opens hosts, host:port and CIDRs, and nothing beside them': async () => {
      const { egressAllow } = load({ EGRESS_ALLOW: 'Idp.Local, 10.1.0.0/16 127.0.0.1:8084' });
      const guard = createEgressGuard({
        allow: parseEgressAllow(egressAllow.join(' ')),
        lookup: () => Promise.resolve(['192.168.0.1']),
      });
      const admits = async (url: string) => (await guard.admit(new URL(url))).kind;
      expect(await admits('http://idp.local:81/token')).toBe('admitted');
      expect(await admits('http://10.1.2.3/token')).toBe('admitted');
      expect(await admits('http://127.0.0.1:8084/token')).toBe('admitted');
      expect(await admits('http://127.0.0.1:8085/token')).toBe('refused');
      expect(await admits('http://10.2.0.1/token')).toBe('refused');
      expect(await admits('https://other.local/token')).toBe('refused');
    },
    'is refused when it is something else': () =>
      refuses('EGRESS_ALLOW', ['http://x', '10.0.0.0/33', 'h:0', 'h:65536', '[h]:1', '*.x']),
  },
  // Its contents and reloading: test/cli/load-callers.test.ts.
  CALLERS_FILE: {
    'must be readable, and opens any HOST': () => {
      refuses('CALLERS_FILE', [missing, folder]);
      const { callers, http } = load({ CALLERS_FILE: keyFile });
      expect([callers, http.host]).toEqual([{ file: keyFile, byCertificate: false }, '0.0.0.0']);
      expect(load({ CALLERS_FILE: keyFile, HOST: '10.0.0.7' }).http.host).toBe('10.0.0.7');
    },
  },
  // Its contents and reloading: test/cli/load-providers.test.ts.
  PROVIDERS_FILE: {
    'must be readable': () => {
      expect(load({ PROVIDERS_FILE: keyFile }).providersFile).toBe(keyFile);
      refuses('PROVIDERS_FILE', [missing, folder]);
    },
  },
  // Its contents: test/connections/webhook-settings.test.ts.
  WEBHOOKS_FILE: {
    'must be readable': () => {
      expect(load({ WEBHOOKS_FILE: keyFile }).webhooksFile).toBe(keyFile);
      refuses('WEBHOOKS_FILE', [missing, folder]);
    },
  },
  ALLOW_ANONYMOUS_CALLERS: {
    'opens any HOST': () => {
      expect(faultsOf({ HOST: '0.0.0.0', ALLOW_ANONYMOUS_CALLERS: 'true' })).toEqual([]);
      expect(faultsOf({ HOST: '0.0.0.0', ALLOW_ANONYMOUS_CALLERS: 'false' })).not.toEqual([]);
      refuses('ALLOW_ANONYMOUS_CALLERS', ['1']);
      const known = { ALLOW_ANONYMOUS_CALLERS: 'true', CALLERS_FILE: keyFile };
      expect(load(known).warnings.join()).toContain('ALLOW_ANONYMOUS_CALLERS has no effect');
      expect(load({ ALLOW_ANONYMOUS_CALLERS: 'true' }).warnings).toEqual([]);
    },
  },
};

async function withServer(
  sizes: { readBufferSizeBytes?: number; writeBufferSizeBytes?: number },
  ask: (port: number, highWaterMark: () => number | undefined) => Promise<void>,
): Promise<void> {
  const bufferSizes = { readBufferSizeBytes: 4_096, writeBufferSizeBytes: 4_096, ...sizes };
  const { server } = createHttpServer({
    fetch: () => new Response('ok'),
    clock: systemClock,
    ...bufferSizes,
  });
  let highWaterMark: number | undefined;
  server.on('request', (_request, response) => (highWaterMark = response.writableHighWaterMark));
  const { port } = await listen(server, { host: '127.0.0.1', port: 0, setting: 'PORT' });
  try {
    await ask(port, () => highWaterMark);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function statusOf(port: number, { path, header }: { path: string; header: string }) {
  return new Promise<number | undefined>((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, headers: { 'x-header': header } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on('error', reject)
      .end();
  });
}

describe.each(rows.map((row) => [row.join(', '), row] as const))('%s', (_title, row) => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  it.each(row.flatMap((variable) => Object.entries(claims[variable]).map((c) => [variable, ...c])))(
    '%s %s',
    async (_variable, _what, holds) => {
      if (typeof holds === 'function') await holds();
    },
  );

  it('has a row in the README', () => {
    for (const variable of row) expect(readme.includes(variable), variable).toBe(true);
  });
});

it('every fault of every part is in one report', () => {
  const found = faultsOf(
    { PORT: 'x', LOG_LEVEL: 'loud', DATABASE_URL: '', LOCAL_KEY_FILE: missing, TEMPORAL_TLS: 'x' },
    '{"worker": {"slots": {"activities": 0}}}',
  );
  const named = ['PORT', 'LOG_LEVEL', 'DATABASE_URL', 'LOCAL_KEY_FILE', 'TEMPORAL_TLS'];
  for (const name of [...named, '/worker/slots/activities']) {
    expect(found.some((fault) => fault.includes(`${name} `))).toBe(true);
  }
  expect(found).toHaveLength(6);
});
