const networkCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  // The folder of a Unix socket before the server has made it.
  'ENOENT',
]);
/** 08 connection, 53 insufficient resources, 55 lock not available, 57 operator intervention. */
const passingClasses = new Set(['08', '53', '55', '57']);
/** `pg` and its pool put no code on these. */
const messages =
  /timeout exceeded|timeout expired|Connection terminated|Query read timeout|server closed the connection|connection error and is not queryable/i;

/** Whether PostgreSQL may take what it refused once it is back, started or less busy. */
export function isDatabaseAway(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.every(isDatabaseAway);
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string' && isPassing(error.code)) return true;
  return messages.test(error.message) || isDatabaseAway(error.cause);
}

function isPassing(code: string): boolean {
  return networkCodes.has(code) || (code.length === 5 && passingClasses.has(code.slice(0, 2)));
}

/** In words; `pg` reports a host name that led to several addresses as an error of errors. */
export function databaseReason(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(databaseReason).join('; ');
  if (!(error instanceof Error)) return 'unknown';
  return error.cause === undefined ? error.message : databaseReason(error.cause);
}
