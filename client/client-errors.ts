import {
  identifierPattern,
  problemKinds,
  type InputFault,
  type ProblemCode,
  type Remedy,
} from './contract.ts';

/**
 * What went wrong: a code of the service (docs/http.md, Problems), or one of the client's own.
 *
 * - `gateway_unreachable`: no answer in time, or no connection. Retryable.
 * - `http_<status>`: an answer that is no problem document, as a proxy in between gives. Retryable for 408,
 *   425, 429 and from 500 on except 501.
 * - `answer_unusable`: a 200 without a token. Is `baseUrl` that of the service?
 * - `answer_outdated`: only an older token than one already handed out. Retryable.
 * - `origin_not_allowed`: `fetch` does not send a token there.
 * - `tls_files_unusable`: the files of `tls` cannot be read, or do not belong together.
 * - `client_closed`: after `close()`.
 *
 * A newer service may answer codes that are not listed here.
 */
export type ClientErrorCode =
  | ProblemCode
  | 'gateway_unreachable'
  | 'answer_unusable'
  | 'answer_outdated'
  | 'origin_not_allowed'
  | 'tls_files_unusable'
  | 'client_closed'
  | `http_${number}`
  | (string & Record<never, never>);

export interface ClientErrorDetails {
  code: ClientErrorCode;
  message: string;
  status?: number | undefined;
  retryable?: boolean | undefined;
  remedy?: Remedy | undefined;
  retryAfterSeconds?: number | undefined;
  requestId?: string | undefined;
  connectionId?: string | undefined;
  reason?: string | undefined;
  errors?: readonly InputFault[] | undefined;
  cause?: unknown;
}

/**
 * Every error of the client, except the reason of a caller's own aborted signal. Switch on `code`, or on
 * the class for the cases that a service meets every day. No member holds a secret.
 */
export class TokenManagerClientError extends Error {
  override readonly name: string = 'TokenManagerClientError';
  readonly code: ClientErrorCode;
  /** HTTP status of the answer; undefined where there was none. */
  readonly status: number | undefined;
  /** Whether the same call may succeed later without anybody doing anything. */
  readonly retryable: boolean;
  /** Who can mend it: `fix_request` (the caller), `fix_app`, `reauthorize` (the customer), `retry`, `none`. */
  readonly remedy: Remedy;
  /** How long the service asks to wait. */
  readonly retryAfterSeconds: number | undefined;
  /** Finds the request in the service's log. */
  readonly requestId: string | undefined;
  readonly connectionId: string | undefined;
  /** With `reauthorization_required`: `revoked`, `expired`, `lost_rotation`, `no_refresh_token`, `refused`. */
  readonly reason: string | undefined;
  /** With `input_validation`: what is wrong where. */
  readonly errors: readonly InputFault[] | undefined;

  constructor(details: ClientErrorDetails) {
    super(describe(details), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.status = details.status;
    this.retryable = details.retryable ?? false;
    this.remedy = details.remedy ?? 'none';
    this.retryAfterSeconds = details.retryAfterSeconds;
    this.requestId = details.requestId;
    this.connectionId = details.connectionId;
    this.reason = details.reason;
    this.errors = details.errors;
  }
}

/** The customer must authorise again; `reason` says why. Stop calling for this connection until then. */
export class ReauthorizationRequiredError extends TokenManagerClientError {
  override readonly name = 'ReauthorizationRequiredError';
}

/** There is no such connection, or this caller may not see it. */
export class ConnectionNotFoundError extends TokenManagerClientError {
  override readonly name = 'ConnectionNotFoundError';
}

/** Somebody paused the connection, and its token has expired. */
export class ConnectionPausedError extends TokenManagerClientError {
  override readonly name = 'ConnectionPausedError';
}

/** The provider refuses the app, or may not be called: operators mend that, no customer can. */
export class AppMisconfiguredError extends TokenManagerClientError {
  override readonly name = 'AppMisconfiguredError';
}

/** The service does not know this caller (`unauthenticated`), or its scopes do not reach so far (`forbidden`). */
export class CallerRefusedError extends TokenManagerClientError {
  override readonly name = 'CallerRefusedError';
}

/** The call itself is wrong: a parameter, or an origin that `fetch` sends no token to. */
export class InvalidRequestError extends TokenManagerClientError {
  override readonly name = 'InvalidRequestError';
}

/** What passes by itself, and did not within the deadline; every error that is `retryable`. */
export class TemporarilyUnavailableError extends TokenManagerClientError {
  override readonly name = 'TemporarilyUnavailableError';
}

const classes = new Map<string, typeof TokenManagerClientError>([
  ['reauthorization_required', ReauthorizationRequiredError],
  ['connection_not_found', ConnectionNotFoundError],
  ['connection_paused', ConnectionPausedError],
  ['app_misconfigured', AppMisconfiguredError],
  ['egress_refused', AppMisconfiguredError],
  ['unauthenticated', CallerRefusedError],
  ['forbidden', CallerRefusedError],
  ['input_validation', InvalidRequestError],
  ['origin_not_allowed', InvalidRequestError],
]);

/** The error of these details, of the class that belongs to its code. */
export function createClientError(details: ClientErrorDetails): TokenManagerClientError {
  const fallback =
    details.retryable === true ? TemporarilyUnavailableError : TokenManagerClientError;
  return new (classes.get(details.code) ?? fallback)(details);
}

/** Throws what the service would answer, without asking it. */
export function assertConnectionId(connectionId: string): void {
  if (typeof connectionId === 'string' && identifierPattern.test(connectionId)) return;
  throw inputError('connection_id', 'is not 1 to 255 of A-Z a-z 0-9 . _ : ~ -');
}

export function inputError(parameter: string, detail: string): TokenManagerClientError {
  return createClientError({
    code: 'input_validation',
    message: `${parameter} ${detail}`,
    remedy: 'fix_request',
    errors: [{ parameter, detail }],
  });
}

/** The error that an answer of another status than 200 means. */
export function parseProblem(
  answer: { status: number; header: (name: string) => string | undefined; text: string },
  connectionId: string,
): TokenManagerClientError {
  const body = parseObject(answer.text);
  const code = textOf(body['code']);
  const kind = code === undefined ? undefined : kindOf(code);
  const retryable = booleanOf(body['retryable']) ?? kind?.retryable;
  const isTransient =
    [408, 425, 429].includes(answer.status) || (answer.status >= 500 && answer.status !== 501);
  const details = {
    status: answer.status,
    retryAfterSeconds:
      numberOf(body['retry_after_seconds']) ?? numberOf(answer.header('retry-after')),
    requestId: textOf(body['request_id']) ?? answer.header('x-request-id'),
    connectionId,
  };
  if (code === undefined) {
    return createClientError({
      ...details,
      code: `http_${answer.status}`,
      message: `The answer is no problem document of the service, but HTTP ${answer.status}.`,
      retryable: isTransient,
      remedy: isTransient ? 'retry' : 'none',
    });
  }
  return createClientError({
    ...details,
    code,
    message: textOf(body['detail']) ?? kind?.summary ?? code,
    retryable: retryable ?? isTransient,
    remedy: remedyOf(body['remedy']) ?? kind?.remedy,
    reason: textOf(body['reason']),
    errors: Array.isArray(body['errors']) ? (body['errors'] as InputFault[]) : undefined,
  });
}

/** A JSON object, or an empty one for anything else. */
export function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function describe({ code, message, connectionId, requestId, remedy }: ClientErrorDetails): string {
  const context = [
    ...(connectionId === undefined ? [] : [`connection ${connectionId}`]),
    ...(requestId === undefined ? [] : [`request ${requestId}`]),
    ...(remedy === undefined || remedy === 'none' ? [] : [`remedy: ${remedy}`]),
  ].join(', ');
  return `${code}: ${message}${context === '' ? '' : ` (${context})`}`;
}

function kindOf(code: string) {
  return Object.hasOwn(problemKinds, code) ? problemKinds[code as ProblemCode] : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function booleanOf(value: unknown): boolean | undefined {
  return typeof value === 'boolean' ? value : undefined;
}

/** Retry-After as a date is none of ours: the service speaks seconds. */
function numberOf(value: unknown): number | undefined {
  const seconds = typeof value === 'string' && value !== '' ? Number(value) : value;
  return typeof seconds === 'number' && Number.isFinite(seconds) && seconds >= 0
    ? seconds
    : undefined;
}

function remedyOf(value: unknown): Remedy | undefined {
  const remedies: readonly unknown[] = ['fix_request', 'fix_app', 'reauthorize', 'retry', 'none'];
  return remedies.includes(value) ? (value as Remedy) : undefined;
}
