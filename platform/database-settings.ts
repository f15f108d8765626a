import { Secret } from './secret.ts';
import type { Settings } from './settings.ts';

export interface DatabaseConfig {
  /** A PostgreSQL connection URL (libpq section 34.1.1.2), password included. */
  url: Secret;
  migrateOnStart: boolean;
}

/** DATABASE_URL, or libpq's PG* where there is none; both with `_FILE` for what is secret. */
export function readDatabase(settings: Settings): DatabaseConfig {
  const url = settings.secret('DATABASE_URL');
  const password = settings.secret('PGPASSWORD');
  const migrateOnStart = settings.boolean('MIGRATE_ON_START', true);
  if (url !== undefined) return { url: completeUrl(settings, url, password), migrateOnStart };
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
  return { url: urlFromParts(settings, host ?? '', password), migrateOnStart };
}

/** Adds the password that PGPASSWORD brings to a URL that has none, as libpq does. */
function completeUrl(settings: Settings, url: Secret, password: Secret | undefined): Secret {
  const parsed = parseUrl(url);
  if (parsed === undefined) {
    // The value is not repeated: it may hold a password.
    settings.fault('DATABASE_URL', 'is not a URL; set postgres://user:password@host:5432/database');
    return url;
  }
  if (password === undefined || parsed.password !== '') return url;
  parsed.password = encodeURIComponent(password.reveal());
  return new Secret(parsed.href);
}

function parseUrl(url: Secret): URL | undefined {
  const text = url.reveal();
  if (!/^postgres(?:ql)?:\/\//.test(text) || !URL.canParse(text)) return undefined;
  return new URL(text);
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
  if (isSocket) parameters.set('host', host);
  const authority = `${isSocket ? '' : bracketed(host)}:${port}`;
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

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
