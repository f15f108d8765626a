/**
 * The contract that every room and every caller shares: names, ids, vocabularies and the one error
 * type. No I/O and no dependency; design notes are in docs/architecture.md.
 */

/** How a refresh ended. One vocabulary for results, metrics, search attributes and the log. */
export const refreshOutcomes = [
  'refreshed',
  'already_fresh',
  'reauthorization_required',
  'uncertain',
  'waiting',
  'app_misconfigured',
  'paused',
  'gone',
] as const;
export type RefreshOutcome = (typeof refreshOutcomes)[number];

/** What asked for a refresh. */
export const refreshTriggers = [
  'read',
  'force',
  'rejected',
  'background',
  'sweep',
  'workflow',
  'probe',
] as const;
export type RefreshTrigger = (typeof refreshTriggers)[number];

/** The class of an attempt that brought no tokens. */
export const failureClasses = [
  'permanent',
  'transient',
  'ambiguous',
  'misconfigured',
  'rate_limited',
  'protocol_break',
] as const;
export type FailureClass = (typeof failureClasses)[number];

/** Derived from the connection's row, never written (see connections/connection.ts). */
export const connectionStatuses = [
  'active',
  'uncertain',
  'paused',
  'reauthorization_required',
  'revoking',
] as const;
export type ConnectionStatus = (typeof connectionStatuses)[number];

/** Why a connection needs its customer again. */
export type ReauthorizationReason =
  'revoked' | 'expired' | 'lost_rotation' | 'no_refresh_token' | 'refused';

/** What a connection that is not broken waits for. */
export type WaitingReason =
  | 'app_misconfigured'
  | 'egress_refused'
  | 'rate_limited'
  | 'provider_unavailable'
  | 'provider_answer_unusable'
  | 'key_service_unavailable';

/** What the feed and webhooks tell of: transitions, each once. `connection.refreshed` only where asked for. */
export const eventTypes = [
  'connection.refreshed',
  'connection.reauthorization_required',
  'connection.reauthorize_soon',
  'connection.recovered',
  'connection.scope_changed',
  'connection.revocation_failed',
  'app.misconfigured',
  'app.recovered',
] as const;
export type EventType = (typeof eventTypes)[number];

/** Input of the Workflow `refreshConnection`. */
export interface RefreshConnectionInput {
  connectionId: string;
  /** Refresh unless the stored token_version is above this. Absent: refresh only if due. */
  newerThan?: number;
  trigger: RefreshTrigger;
}

/** Result of a refresh wherever it is asked for: a reference, never a token. */
export interface RefreshResult {
  connectionId: string;
  outcome: RefreshOutcome;
  tokenVersion: number;
  /** ISO 8601, or null for a token that does not expire. */
  expiresAt: string | null;
}

export const refreshConnectionWorkflowType = 'refreshConnection';

/** The Workflow ID whose uniqueness serialises the refreshes of a connection. */
export function refreshWorkflowId(connectionId: string): string {
  return `refresh/${connectionId}`;
}

/** Input of the Workflow, and of the Nexus operation, `ensureFresh`: what the token must satisfy. */
export interface EnsureFreshInput {
  connectionId: string;
  /** 0 to 86400; lowered to 80 % of the lifetime as issued. A token stored after the call satisfies any. */
  minTtlSeconds?: number;
  /** A token whose version is above this. */
  newerThan?: number;
  /** A provider's API refused the token of this version: a newer one, unless there is one already. */
  rejectedTokenVersion?: number;
}

export const ensureFreshWorkflowType = 'ensureFresh';

/** Where `ensureFresh` runs, unless temporal.config.json says otherwise. */
export const waitTaskQueueDefault = 'token-manager-wait';

/** One run for each call; what distinguishes it is the caller's. */
export function ensureFreshWorkflowId(connectionId: string, call: string): string {
  return `ensure-fresh/${connectionId}/${call}`;
}

const minTtlMaxSeconds = 86_400;

/** What is wrong with the input, or undefined. Callers may be programs that no compiler has checked. */
export function ensureFreshFault(input: EnsureFreshInput): string | undefined {
  const { connectionId, minTtlSeconds, newerThan, rejectedTokenVersion } = input;
  if (typeof connectionId !== 'string' || !identifierPattern.test(connectionId)) {
    return 'connectionId must be 1 to 255 of A-Z a-z 0-9 . _ : ~ -';
  }
  if (!isWholeOrAbsent(minTtlSeconds, minTtlMaxSeconds)) {
    return `minTtlSeconds must be a whole number from 0 to ${minTtlMaxSeconds}`;
  }
  for (const [name, version] of Object.entries({ newerThan, rejectedTokenVersion })) {
    if (!isWholeOrAbsent(version, Number.MAX_SAFE_INTEGER)) {
      return `${name} must be a token version, a whole number from 0`;
    }
  }
  return undefined;
}

function isWholeOrAbsent(value: number | undefined, max: number): boolean {
  return value === undefined || (Number.isInteger(value) && value >= 0 && value <= max);
}

/** Input of the Workflow `revokeConnection`. */
export interface RevokeConnectionInput {
  connectionId: string;
}

export const revokeConnectionWorkflowType = 'revokeConnection';

export const sweepWorkflowType = 'sweepConnections';

/**
 * On the Task Queue that they share; 1 to 5, the lower the sooner. A backlog of revocations, each of which may
 * wait for its provider, holds up neither the sweep nor deliveries.
 */
export const maintenancePriority = { sweep: 1, deliveries: 2, revocations: 4 } as const;

export function revokeWorkflowId(connectionId: string): string {
  return `revoke/${connectionId}`;
}

export const deliverEventsWorkflowType = 'deliverEvents';

/** One run for each endpoint of WEBHOOKS_FILE, by its name there. */
export function deliverEventsWorkflowId(endpoint: string): string {
  return `deliver-events/${endpoint}`;
}

export const resealWorkflowType = 'resealConnections';

/** One re-seal at a time for each service, which its sweep Task Queue names. */
export function resealWorkflowId(sweepTaskQueue: string): string {
  return `reseal/${sweepTaskQueue}`;
}

/** Input of the Workflow `resealConnections`. */
export interface ResealConnectionsInput {
  rowsPerSecond: number;
  /** How long after its retirement a data key may still seal. */
  settleMs: number;
  /** Of the run before, which this one goes on from. */
  resumed?: ResealResumption;
}

/** Where a re-seal stands; also its memo `progress`. */
export interface ResealProgress {
  /** Rows that retired data keys sealed when it began; at most a million are counted. */
  total: number;
  resealed: number;
  /** Rows of this pass that do not open, and stay as they are. */
  unopenable: number;
  /** The second one, and others, find what was sealed with old keys meanwhile. */
  pass: number;
  /** The table it is at; null between passes. */
  table: string | null;
}

export interface ResealResumption {
  progress: ResealProgress;
  at: ResealPosition;
}

export interface ResealPosition {
  table: string;
  /** The last row that was looked at; null begins the table. */
  after: string | null;
}

/** What a re-seal has done. */
export interface ResealSummary {
  resealed: number;
  passes: number;
  /** Rows that retired data keys still seal, for they do not open. */
  left: number;
}

/**
 * Headers of a refresh's run and its Activities. `trace` has the name and the shape, `{ traceparent }`,
 * that the OpenTelemetry interceptors of Temporal's SDKs use; `requestedAt` is an ISO 8601 instant.
 */
export const refreshHeaderNames = {
  trace: '_tracer-data',
  requestedAt: 'token-manager-requested-at',
} as const;

/** Names of the Keyword search attributes that every refresh carries. */
export const searchAttributeNames = [
  'ConnectionId',
  'TenantId',
  'Provider',
  'RefreshOutcome',
  'RefreshTrigger',
] as const;

/** `{id}`, `app_id` and `tenant_id`: 1 to 255 of these, and neither `.` nor `..`. */
export const identifierPattern = /^(?!\.{1,2}$)[A-Za-z0-9._:~-]{1,255}$/;

/** What is to be done about a problem, and by whom. */
export type Remedy = 'fix_request' | 'fix_app' | 'reauthorize' | 'retry' | 'none';

interface ProblemKind {
  status: number;
  retryable: boolean;
  remedy: Remedy;
  /** One sentence for people; never carries data of a request. */
  summary: string;
}

/** Every problem the service can answer, with its HTTP status, whether to try again, and what to do. */
export const problemKinds = {
  input_validation: kind(400, 'fix_request', 'The request is not valid.'),
  unauthenticated: kind(401, 'fix_request', 'The caller is not known.'),
  forbidden: kind(403, 'fix_request', 'The caller may not do this.'),
  connection_not_found: kind(404, 'fix_request', 'There is no such connection.'),
  app_not_found: kind(404, 'fix_request', 'There is no such app.'),
  provider_not_found: kind(404, 'fix_request', 'There is no such provider.'),
  not_found: kind(404, 'fix_request', 'There is no such route.'),
  method_not_allowed: kind(405, 'fix_request', 'The route does not take this method.'),
  request_timeout: kind(408, 'retry', 'The request did not arrive in time.'),
  unsupported_media_type: kind(415, 'fix_request', 'The body must be application/json.'),
  connection_id_taken: kind(409, 'fix_request', 'The connection belongs to another tenant or app.'),
  credential_in_use: kind(409, 'fix_request', 'Another live connection holds this refresh token.'),
  app_in_use: kind(409, 'fix_request', 'Connections still use the app.'),
  connection_revoking: {
    status: 409,
    retryable: true,
    remedy: 'fix_request',
    summary: 'The connection is being revoked.',
  },
  refresh_not_possible: kind(
    409,
    'fix_request',
    'The connection has no refresh token, and its access token is still valid.',
  ),
  request_too_large: kind(413, 'fix_request', 'The body is too large.'),
  headers_too_large: kind(431, 'fix_request', 'The request line and headers are too large.'),
  reauthorization_required: kind(409, 'reauthorize', 'The customer must authorise again.'),
  connection_paused: kind(409, 'none', 'Refreshing this connection is paused.'),
  app_misconfigured: kind(
    409,
    'fix_app',
    'The provider refuses the app; its registration needs work.',
  ),
  egress_refused: kind(409, 'fix_app', 'The provider address is not one that may be called.'),
  refresh_limited: kind(429, 'retry', 'Too many forced refreshes of this connection.'),
  provider_answer_unusable: kind(502, 'retry', 'The provider answered without an access token.'),
  refresh_in_progress: kind(503, 'retry', 'The refresh is still running.'),
  refresh_uncertain: kind(503, 'retry', 'Whether the last refresh took place is not known.'),
  provider_unavailable: kind(
    503,
    'retry',
    'The provider could not be reached or was out of order.',
  ),
  provider_rate_limited: kind(503, 'retry', 'The provider limits how often it may be asked.'),
  store_unavailable: kind(503, 'retry', 'The database is away.'),
  key_service_unavailable: kind(503, 'retry', 'The key service is away.'),
  refresh_engine_unavailable: kind(
    503,
    'retry',
    'Temporal is away; tokens still valid are served.',
  ),
  overloaded: kind(503, 'retry', 'The service is at its limit.'),
  internal: kind(500, 'none', 'The service has a fault; find it in the log by request_id.'),
} as const satisfies Record<string, ProblemKind>;

export type ProblemCode = keyof typeof problemKinds;

function kind(status: number, remedy: Remedy, summary: string): ProblemKind {
  return { status, retryable: remedy === 'retry', remedy, summary };
}

/** A fault of the input: where (a JSON pointer into the body, or a parameter) and what. */
export type InputFault =
  { pointer: string; detail: string } | { parameter: string; detail: string };

interface TokenManagerErrorDetails {
  /** Shown to callers: never holds a secret or a provider's text. Defaults to the code's summary. */
  detail?: string;
  retryAfterSeconds?: number;
  reason?: string;
  errors?: InputFault[];
  connectionId?: string;
  cause?: unknown;
}

/** The one type of error of this project; callers switch on `code`. */
export class TokenManagerError extends Error {
  override readonly name = 'TokenManagerError';
  readonly code: ProblemCode;
  readonly retryAfterSeconds: number | undefined;
  readonly reason: string | undefined;
  readonly errors: InputFault[] | undefined;
  readonly connectionId: string | undefined;

  constructor(code: ProblemCode, details: TokenManagerErrorDetails = {}) {
    super(details.detail ?? problemKinds[code].summary, { cause: details.cause });
    this.code = code;
    this.retryAfterSeconds = details.retryAfterSeconds;
    this.reason = details.reason;
    this.errors = details.errors;
    this.connectionId = details.connectionId;
  }
}
