import { Secret } from './secret.ts';
import type { Settings } from './settings.ts';

export interface DatabaseConfig {
  /** A PostgreSQL connection URL (libpq section 34.1.1.2), password included. */
  url: Secret;
  /**
   * For LISTEN, which needs a session of its own: another URL where `url` goes through a transaction
   * pooler, which would take LISTEN and deliver nothing.
   */
  listenUrl: Secret;
  migrateOnStart: boolean;
}

/**
 * DATABASE_URL, or libpq's PG* where there is none, and DATABASE_LISTEN_URL; all with `_FILE` for what
 * is secret.
 */
export function readDatabase(settings: Settings): DatabaseConfig {
  const password = settings.secret('PGPASSWORD');
  const url = readUrl(settings, 'DATABASE_URL', password) ?? readParts(settings, password);
  return {
    url,
    listenUrl: readUrl(settings, 'DATABASE_LISTEN_URL', password) ?? url,
    migrateOnStart: settings.boolean('MIGRATE_ON_START', true),
  };
}

function readParts(settings: Settings, password: Secret | undefined): Secret {
  const host = settings.text('PGHOST');
  if (host === undefined) {
    const named = settings.text('DATABASE_URL_FILE') !== undefined;
    // A file that cannot be read is reported already.
    if (!named) {
      settings.fault(
        'DATABASE_URL',
        'is not set; set it (or DATABASE_URL_FILE, or PGHOST and PG*)',
      );
    }
  }
  return urlFromParts(settings, host ?? '', password);
}

/** Adds the password that PGPASSWORD brings to a URL that has none, as libpq does. */
function readUrl(settings: Settings, name: string, password: Secret | undefined) {
  const url = settings.secret(name);
  if (url === undefined) return undefined;
  const text = url.reveal();
  const parsed = parseUrl(text);
  if (parsed === undefined) {
    // The value is not repeated: it may hold a password.
    settings.fault(name, 'is not a URL; set postgres://user:password@host:5432/database');
    return url;
  }
  const hasPassword = parsed.password !== '' || parsed.searchParams.has('password');
  if (password === undefined || hasPassword) return url;
  // As a parameter it also fits a URL that names no user or no host.
  const separator = parsed.search === '' ? '?' : '&';
  return new Secret(`${text}${separator}password=${encodeURIComponent(password.reveal())}`);
}

function parseUrl(text: string): URL | undefined {
  if (!/^postgres(?:ql)?:\/\//.test(text)) return undefined;
  // A URL without a host names a Unix socket in its parameters: libpq and pg take it, URL does not.
  const withHost = text.replace(/^(\w+:\/\/(?:[^/@]*@)?)(?=\/)/, '$1localhost');
  return URL.canParse(withHost) ? new URL(withHost) : undefined;
}

function urlFromParts(settings: Settings, host: string, password: Secret | undefined): Secret {
  const port = settings.integer('PGPORT', { absent: 5_432, min: 1, max: 65_535 });
  const user = encodeURIComponent(settings.text('PGUSER') ?? 'postgres');
  const secret = password === undefined ? '' : `:${encodeURIComponent(password.reveal())}`;
  const database = encodeURIComponent(settings.text('PGDATABASE') ?? settings.text('PGUSER') ?? '');
  const parameters = new URLSearchParams();
  for (const [parameter, name] of urlParameters) {
    const value = settings.text(name);
    if (value !== undefined) parameters.set(parameter, value);
  }
  // libpq takes a path as the folder of a Unix socket, which a URL can only carry as a parameter.
  const isSocket = host.startsWith('/');
  if (isSocket) {
    parameters.set('host', host);
    parameters.set('port', String(port));
  }
  const authority = isSocket ? '' : `${bracketed(host)}:${port}`;
  const query = parameters.size === 0 ? '' : `?${parameters.toString()}`;
  return new Secret(`postgres://${user}${secret}@${authority}/${database}${query}`);
}

const urlParameters = [
  ['sslmode', 'PGSSLMODE'],
  ['sslrootcert', 'PGSSLROOTCERT'],
  ['sslcert', 'PGSSLCERT'],
  ['sslkey', 'PGSSLKEY'],
  ['application_name', 'PGAPPNAME'],
  ['options', 'PGOPTIONS'],
] as const;

/** What libpq reads and `pg` does not: nobody shall think that it holds. */
export function libpqWarnings(settings: Settings): string[] {
  return libpqOnly
    .filter((name) => settings.text(name) !== undefined)
    .map((name) => `${name} is set, but has no effect: only libpq reads it`);
}

const libpqOnly = [
  'PGHOSTADDR',
  'PGSERVICE',
  'PGSERVICEFILE',
  'PGTARGETSESSIONATTRS',
  'PGLOADBALANCEHOSTS',
  'PGCHANNELBINDING',
  'PGREQUIREAUTH',
  'PGREQUIREPEER',
  'PGREQUIRESSL',
  'PGGSSENCMODE',
  'PGSSLCRL',
  'PGSSLCRLDIR',
  'PGSSLMINPROTOCOLVERSION',
  'PGSSLMAXPROTOCOLVERSION',
  'PGSSLCERTMODE',
] as const;

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
