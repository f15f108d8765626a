import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import pg from 'pg';
import { afterAll, describe, expect, it } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import { loadConfig, type Config } from '../../platform/config.ts';
import type { Environment } from '../../platform/settings.ts';

const folder = mkdtempSync(join(tmpdir(), 'config-'));
afterAll(() => rmSync(folder, { recursive: true }));

function fileWith(name: string, contents: string): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

const keyFile = fileWith('local.key', 'not read here');
const enough: Environment = {
  DATABASE_URL: 'postgres://app:planted-password@db.internal/tokens',
  LOCAL_KEY_FILE: keyFile,
};

function load(env: Environment, temporal = '{}'): Config {
  const configFile = fileWith('temporal.config.json', temporal);
  return loadConfig({ env: { ...enough, ...env }, configFile });
}

/** Each fault as `<setting> <what>`; the file's settings by their JSON pointer. */
function faults(env: Environment, temporal?: string): string[] {
  try {
    load(env, temporal);
  } catch (error) {
    if (!(error instanceof TokenManagerError)) throw error;
    expect(error.code).toBe('input_validation');
    const lines = error.errors?.map((fault) => {
      const name = 'parameter' in fault ? fault.parameter.replace(/^.*json#/, '') : fault.pointer;
      return `${name} ${fault.detail}`;
    });
    for (const { detail } of error.errors ?? []) expect(error.message).toContain(detail);
    return lines ?? [];
  }
  return [];
}

describe('the configuration', () => {
  it('has a usable default for everything but the database and the key', () => {
    expect(load({})).toMatchObject({
      http: {
        host: '127.0.0.1',
        port: 8080,
        readBufferSizeBytes: 4096,
        writeBufferSizeBytes: 4096,
      },
      metrics: { port: 9994 },
      pprof: { host: '127.0.0.1', port: 6064 },
      subsystemName: 'token-manager',
      log: { level: 'info', httpRequests: true },
      database: { migrateOnStart: true },
      tokenCacheSeconds: 5,
      egressAllow: [],
      providersFile: undefined,
      temporal: {
        address: 'localhost:7233',
        namespace: 'default',
        taskQueues: { refresh: 'token-manager', wait: 'token-manager-wait' },
        worker: { slots: { activities: 500 }, shutdownGraceSeconds: 65 },
        refresh: { connectSeconds: 5, workflowExecutionHours: 6 },
      },
      warnings: [],
    });
  });

  it('takes what the environment sets, and counts an empty value as not set', () => {
    const config = load({
      PORT: '0',
      HOST: '::1',
      METRICS_PORT: '0',
      PPROF_PORT: '',
      SUBSYSTEM_NAME: 'tokens.eu',
      TLS_MODE: 'disabled',
      LOG_HTTP_REQUESTS: 'false',
      LOG_LEVEL: 'debug',
      FIBER_READ_BUFFER_SIZE: '8192',
      FIBER_WRITE_BUFFER_SIZE: '16384',
      MIGRATE_ON_START: 'false',
      TOKEN_CACHE_SECONDS: '0',
      EGRESS_ALLOW: '10.0.0.0/8, Login.Example.com:8443 [::1]:80,fd00::/8',
      PROVIDERS_FILE: keyFile,
    });
    expect(config).toMatchObject({
      http: { host: '::1', port: 0, readBufferSizeBytes: 8192, writeBufferSizeBytes: 16384 },
      metrics: { port: 0 },
      pprof: { port: 6064 },
      subsystemName: 'tokens.eu',
      log: { level: 'debug', httpRequests: false },
      database: { migrateOnStart: false },
      tokenCacheSeconds: 0,
      egressAllow: ['10.0.0.0/8', 'login.example.com:8443', '[::1]:80', 'fd00::/8'],
      providersFile: keyFile,
    });
  });

  it('takes the defaults of a caller only where the environment says nothing', () => {
    const { http, egressAllow } = loadConfig({
      env: { ...enough, PORT: '9000', EGRESS_ALLOW: '' },
      defaults: { PORT: '8082', EGRESS_ALLOW: '127.0.0.1' },
    });
    expect([http.port, egressAllow]).toEqual([9000, ['127.0.0.1']]);
  });

  it('reports all faults at once', () => {
    const found = faults(
      {
        PORT: 'http',
        LOG_HTTP_REQUESTS: 'yes',
        TLS_MODE: 'tls',
        DATABASE_URL: '',
        LOCAL_KEY_FILE: '',
      },
      '{"namespaces": "x", "worker": {"slots": {"activities": 0}}}',
    );
    expect(found).toEqual([
      'TLS_MODE is "tls"; set one of disabled, enabled, mtls',
      'PORT is "http"; set a whole number from 0 to 65535',
      'LOG_HTTP_REQUESTS is "yes"; set one of true, false',
      'DATABASE_URL is not set; set it (or DATABASE_URL_FILE, or PGHOST and PG*)',
      'LOCAL_KEY_FILE is not set, nor is KMS_KEY_NAME; name a Cloud KMS key, or a file of 32 random bytes in base64',
      '/worker/slots/activities Too small: expected number to be >=1',
      '/namespaces is not a setting; remove it or correct its name',
    ]);
  });

  it('prints without secrets', () => {
    const config = load({ TEMPORAL_API_KEY: 'planted-api-key', PGPASSWORD: 'planted-too' });
    const printed = inspect(config, { depth: 20, showHidden: false }) + JSON.stringify(config);
    expect(printed).not.toContain('planted');
  });

  it.each([
    ['PORT', '65536'],
    ['METRICS_PORT', '-1'],
    ['PPROF_PORT', '1e3'],
    ['FIBER_READ_BUFFER_SIZE', '0'],
    ['FIBER_WRITE_BUFFER_SIZE', '4k'],
    ['LOG_HTTP_REQUESTS', 'TRUE'],
    ['MIGRATE_ON_START', '1'],
    ['FIBER_IMMUTABLE', 'no'],
    ['ALLOW_LOCAL_KEYS', 'yes'],
    ['ALLOW_ANONYMOUS_CALLERS', 'on'],
    ['LOG_LEVEL', 'verbose'],
    ['SUBSYSTEM_NAME', 'a b'],
    ['HOST', '127.0.0.1:80'],
    ['PPROF_HOST', 'a b'],
    ['PROVIDERS_FILE', '/no/such/file'],
    ['LOCAL_KEY_FILE', '/no/such/file'],
    ['EGRESS_ALLOW', '10.0.0.0/33'],
    ['EGRESS_ALLOW', 'http://example.com'],
    ['EGRESS_ALLOW', 'example.com:0'],
    ['EGRESS_ALLOW', '[example.com]:80'],
    ['TLS_MODE', 'DISABLED'],
    ['CALLERS_FILE', '/no/such/file'],
    ['KMS_KEY_NAME', 'projects/p/locations/l/keyRings/r'],
    ['KEY_PROVIDER', 'aws'],
    ['TEMPORAL_TLS', 'yes'],
    ['TEMPORAL_ADDRESS', 'http://temporal:7233'],
    ['TEMPORAL_TLS_CLIENT_CERT_PATH', keyFile],
  ])('refuses %s=%s', (name, value) => {
    const found = faults({ [name]: value });
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]).toMatch(new RegExp(`^${name.replace('CERT_PATH', 'KEY_PATH')} `));
  });

  it('refuses two listeners on one port, though several may be off', () => {
    expect(faults({ PORT: '9994' })).toEqual([
      'METRICS_PORT is 9994, and so is PORT; give each a port of its own',
    ]);
    expect(faults({ METRICS_PORT: '0', PPROF_PORT: '0', PORT: '0' })).toEqual([]);
  });

  it('refuses to serve strangers beyond loopback unless that is allowed', () => {
    for (const host of ['0.0.0.0', '::', '10.1.2.3', 'gateway.internal']) {
      expect(faults({ HOST: host }).join()).toContain('ALLOW_ANONYMOUS_CALLERS=true');
      expect(faults({ HOST: host, ALLOW_ANONYMOUS_CALLERS: 'true' })).toEqual([]);
    }
    for (const host of ['localhost', '127.0.0.2', '::1', '::ffff:127.0.0.1']) {
      expect(faults({ HOST: host })).toEqual([]);
    }
  });

  it('refuses a local key in production unless that is allowed', () => {
    expect(faults({ NODE_ENV: 'production' }).join()).toContain('ALLOW_LOCAL_KEYS=true');
    expect(faults({ NODE_ENV: 'production', ALLOW_LOCAL_KEYS: 'true' })).toEqual([]);
  });

  it('warns of what is set and has no effect', () => {
    const { warnings } = load({ FIBER_IMMUTABLE: 'false', PGSERVICE: 'main' });
    expect(warnings).toHaveLength(2);
    expect(warnings.join()).toMatch(/PGSERVICE.*FIBER_IMMUTABLE=false/);
  });

  it('warns of a grace that ends before the longest exchange', () => {
    const file = '{"worker": {"shutdownGraceSeconds": 30}}';
    expect(load({}, file).warnings.join()).toContain('shutdownGraceSeconds is 30');
    const short =
      '{"refresh": {"deadlineSeconds": {"X": 20, "F": 30}}, "worker": {"shutdownGraceSeconds": 30}}';
    expect(load({}, short).warnings).toEqual([]);
  });
});

it.each(['-1', '301', '2.5', 'off'])('refuses TOKEN_CACHE_SECONDS=%s', (value) => {
  expect(faults({ TOKEN_CACHE_SECONDS: value })).toEqual([
    `TOKEN_CACHE_SECONDS is "${value}"; set a whole number from 0 to 300`,
  ]);
});

describe('the database', () => {
  const url = (env: Environment) => load({ DATABASE_URL: '', ...env }).database.url.reveal();

  it('is named by a URL, or by a file that holds it', () => {
    const path = fileWith('url', 'postgresql://a:b@h/d\n');
    expect(url({ DATABASE_URL_FILE: path })).toBe('postgresql://a:b@h/d');
    expect(url({ DATABASE_URL: 'postgres://a@h/d' })).toBe('postgres://a@h/d');
  });

  it('is named once', () => {
    expect(faults({ DATABASE_URL_FILE: keyFile })).toEqual([
      'DATABASE_URL is set, and so is DATABASE_URL_FILE; set one of the two',
    ]);
  });

  it('takes a missing password from PGPASSWORD or its file, and keeps one that is there', () => {
    const path = fileWith('password', 'p@ss:/?#%+ \u00e9\n');
    const passwordIn = (DATABASE_URL: string) =>
      new pg.Client({ connectionString: url({ DATABASE_URL, PGPASSWORD_FILE: path }) }).password;
    for (const bare of ['postgres://a@h/d', 'postgres://h/d', 'postgres://a@/d?host=/run']) {
      expect(passwordIn(bare), bare).toBe('p@ss:/?#%+ \u00e9');
    }
    expect(passwordIn('postgres://a:b@h/d')).toBe('b');
    expect(passwordIn('postgres://a@h/d?password=b')).toBe('b');
  });

  it('is named by PG* where there is no URL', () => {
    expect(
      url({
        PGHOST: 'db',
        PGPORT: '6432',
        PGUSER: 'us er',
        PGPASSWORD: 'p@:',
        PGDATABASE: 'tokens',
        PGSSLMODE: 'verify-full',
      }),
    ).toBe('postgres://us%20er:p%40%3A@db:6432/tokens?sslmode=verify-full');
    expect(url({ PGHOST: '::1', PGUSER: 'u' })).toBe('postgres://u@[::1]:5432/u');
  });

  it('is named by a socket folder too, which pg takes as one', () => {
    const connectionString = url({ PGHOST: '/run/postgresql', PGUSER: 'u', PGDATABASE: 'd' });
    const client = new pg.Client({ connectionString });
    expect(client).toMatchObject({
      host: '/run/postgresql',
      port: 5432,
      user: 'u',
      database: 'd',
    });
  });

  it.each(['mysql://a:planted@h/d', 'planted', 'postgres://a:planted@h:port/d'])(
    'refuses what is no URL of PostgreSQL without repeating it',
    (value) => {
      const found = faults({ DATABASE_URL: value });
      expect(found).toHaveLength(1);
      expect(found.join()).not.toContain('planted');
    },
  );

  it('is listened to by its own URL unless another is given, which gets the same password', () => {
    const listenUrl = (env: Environment) => load(env).database.listenUrl.reveal();
    expect(listenUrl({ DATABASE_URL: 'postgres://a:b@h/d' })).toBe('postgres://a:b@h/d');
    const pooled = { DATABASE_URL: 'postgres://a@pooler/d', PGPASSWORD: 'p' };
    expect(listenUrl({ ...pooled, DATABASE_LISTEN_URL: 'postgres://a@h/d' })).toBe(
      'postgres://a@h/d?password=p',
    );
    const path = fileWith('listen-url', 'postgres://a:b@session/d\n');
    expect(listenUrl({ ...pooled, DATABASE_LISTEN_URL_FILE: path })).toBe(
      'postgres://a:b@session/d',
    );
    const [found, ...others] = faults({ DATABASE_LISTEN_URL: 'mysql://a:planted@h/d' });
    expect(found).toMatch(/^DATABASE_LISTEN_URL is not a URL/);
    expect([found?.includes('planted'), others]).toEqual([false, []]);
  });

  it.each(['DATABASE_URL_FILE', 'PGPASSWORD_FILE', 'DATABASE_LISTEN_URL_FILE'])(
    'refuses an unreadable %s',
    (name) => {
      const found = faults({ DATABASE_URL: '', [name]: '/no/such/file', PGHOST: 'h' });
      expect(found).toEqual([
        `${name} names the file /no/such/file, which cannot be read (ENOENT); name a readable file`,
      ]);
    },
  );
});

describe('Temporal', () => {
  const toml = fileWith(
    'temporal.toml',
    '[profile.default]\naddress = "toml:7233"\nnamespace = "from-toml"\napi_key = "planted"\n',
  );

  it('takes the environment over temporal.toml over temporal.config.json', () => {
    const file = '{"namespace": "from-file"}';
    expect(load({}, file).temporal.namespace).toBe('from-file');
    const withToml = load({ TEMPORAL_CONFIG_FILE: toml }, file).temporal;
    expect([withToml.namespace, withToml.address]).toEqual(['from-toml', 'toml:7233']);
    expect(withToml.connectionOptions()).toMatchObject({
      address: 'toml:7233',
      apiKey: 'planted',
      tls: true,
    });
    const withEnv = load(
      {
        TEMPORAL_CONFIG_FILE: toml,
        TEMPORAL_NAMESPACE: 'from-env',
        TEMPORAL_ADDRESS: 'env:1',
      },
      file,
    ).temporal;
    expect([withEnv.namespace, withEnv.address]).toEqual(['from-env', 'env:1']);
  });

  it('reports a broken temporal.toml without quoting it', () => {
    const broken = fileWith('broken.toml', '[profile.default]\napi_key = "planted\n');
    const found = faults({ TEMPORAL_CONFIG_FILE: broken });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^TEMPORAL_\* or temporal.toml cannot be used/);
    expect(found[0]).not.toContain('planted');
  });

  it('reports a profile that is not there and members that mean nothing', () => {
    expect(faults({ TEMPORAL_CONFIG_FILE: toml, TEMPORAL_PROFILE: 'prod' })[0]).toContain('prod');
    const strange = fileWith('strange.toml', '[profile.default]\nadress = "x"\n');
    expect(faults({ TEMPORAL_CONFIG_FILE: strange })[0]).toContain('adress');
  });
});
