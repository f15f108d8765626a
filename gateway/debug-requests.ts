import { createMiddleware } from 'hono/factory';
import type { Clock } from '../platform/clock.ts';
import type { DebugRequests } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import { bindingsOf, type GatewayContext, type GatewayEnv } from './gateway-env.ts';
import { loggableText } from './loggable-text.ts';
import { outline, outlineName, type Outlining } from './outline.ts';
import { routeTemplate } from './route-template.ts';

const headerMaxCharacters = 256;
const headersMax = 64;
const subjectsMax = 5;
/** A larger answer is told by its size. */
const answerMaxBytes = 65_536;

/** What a debug line may repeat of a request's headers; of the others it tells the length. */
const shownHeaders = new Set([
  'accept',
  'accept-encoding',
  'connection',
  'content-length',
  'content-type',
  'forwarded',
  'host',
  'traceparent',
  'user-agent',
  'via',
  'x-debug-request',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-request-id',
]);

const shownInRequests: Outlining = {
  shown: new Set([
    'app_id',
    'count',
    'concurrency',
    'cursor',
    'expires_at',
    'expires_in',
    'force',
    'limit',
    'min_interval_seconds',
    'min_token_version',
    'min_ttl_seconds',
    'provider',
    'rejected_token_version',
    'scope',
    'seconds',
    'status',
    'tenant_id',
    'tenant_ids',
    'wait_seconds',
  ]),
  opened: new Set(['limits', 'per_window']),
};

const shownInAnswers: Outlining = {
  shown: new Set([
    ...shownInRequests.shown,
    'at',
    'class',
    'client_secret_count',
    'code',
    'connection_id',
    'connection_status',
    'created_at',
    'credentials',
    'detail',
    'duration_ms',
    'has_dpop_key',
    'has_private_key',
    'id',
    'last_refreshed_at',
    'next_attempt_at',
    'next_cursor',
    'outcome',
    'parameter',
    'paused_reason',
    'paused_until',
    'pointer',
    'reason',
    'refresh_due_at',
    'refreshed',
    'remedy',
    'request_id',
    'retry_after_seconds',
    'retryable',
    'run_id',
    'title',
    'token_type',
    'token_version',
    'trigger',
    'type',
    'updated_at',
    'workflow_id',
  ]),
  opened: new Set([...shownInRequests.opened, 'errors', 'items', 'last_failure']),
};

/** What the parts of a request that is logged at length leave for its line. */
export interface DebugRecord {
  /** Outlined as soon as it is read. */
  body?: unknown;
  tokenSource?: string;
}

/**
 * A line that tells all of a request that is no secret, `debug_request: true`: for those whose caller is
 * known and sends `X-Debug-Request: true`, or for every one. Values are shown by a list of harmless
 * names; of everything else the line tells kind and size.
 */
export function debugRequests(
  mode: Exclude<DebugRequests, 'never'>,
  { clock, log }: { clock: Clock; log: Pick<Logger, 'info'> },
) {
  return createMiddleware<GatewayEnv>(async function debugRequests(c, next) {
    if (mode === 'asked' && c.req.header('X-Debug-Request') !== 'true') return next();
    const record: DebugRecord = {};
    c.set('debug', record);
    const startedMs = clock.monotonicMs();
    await next();
    // Whoever is not known could fill the log.
    if (mode === 'asked' && c.get('caller') === undefined) return;
    const durationMs = clock.monotonicMs() - startedMs;
    log.info(
      {
        request: requestOf(c, record),
        answer: await answerOf(c),
        caller: callerOf(c),
        token_source: record.tokenSource,
        connection_id: c.get('connectionId'),
        app_id: c.get('appId'),
        duration_ms: Math.round(durationMs * 1_000) / 1_000,
        request_id: c.get('requestId'),
        trace_id: c.get('span').traceId,
      },
      'debug request',
    );
  });
}

/** A body as it may be logged. */
export function outlineBody(text: string): unknown {
  try {
    return outline(JSON.parse(text), shownInRequests);
  } catch {
    return `[no JSON, ${text.length} characters]`;
  }
}

function requestOf(c: GatewayContext, record: DebugRecord) {
  const { clientAddress = '' } = bindingsOf(c);
  return {
    method: loggableText(c.req.method, headerMaxCharacters),
    // The path itself may hold what nobody would put there knowingly.
    route: routeTemplate(c),
    query: outline(c.req.query(), shownInRequests),
    headers: headersOf(c.req.raw.headers, (name) => shownHeaders.has(name)),
    body: record.body,
    client_address: loggableText(clientAddress, headerMaxCharacters),
  };
}

async function answerOf(c: GatewayContext) {
  return {
    status: c.res.status,
    // None that we write is a secret.
    headers: headersOf(c.res.headers, () => true),
    body: await answerBodyOf(c),
    problem: c.get('problem'),
  };
}

async function answerBodyOf(c: GatewayContext): Promise<unknown> {
  const isJson = (c.res.headers.get('Content-Type') ?? '').includes('json');
  const bytes = c.get('responseBytes') ?? 0;
  if (!isJson || bytes > answerMaxBytes) return `[${bytes} bytes]`;
  const text = await c.res.clone().text();
  return text === '' ? undefined : outline(JSON.parse(text), shownInAnswers);
}

function headersOf(headers: Headers, mayShow: (name: string) => boolean): Record<string, string> {
  const shown = [...headers]
    .slice(0, headersMax)
    .map(([name, value]) => [
      outlineName(name),
      mayShow(name) ? loggableText(value, headerMaxCharacters) : `[${value.length} characters]`,
    ]);
  return Object.fromEntries(shown) as Record<string, string>;
}

function callerOf(c: GatewayContext) {
  const caller = c.get('caller');
  const subjects = bindingsOf(c)
    .clientIdentity?.subjects.slice(0, subjectsMax)
    .map((subject) => loggableText(subject, headerMaxCharacters));
  if (caller === undefined) return { subjects };
  const { name, scopes, tenants } = caller;
  return { name, scopes: [...scopes], tenant_count: tenants?.size ?? 'all', subjects };
}
