import { randomUUID } from 'node:crypto';
import { OpenAPIHono } from '@hono/zod-openapi';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { problemKinds, TokenManagerError } from '../client/contract.ts';
import type { AppRegistry, ConnectionRegistry } from '../connections/registry.ts';
import type { EventFeed } from '../connections/event-feed.ts';
import type { ProviderDirectory } from '../connections/provider-directory.ts';
import type { TokenNotices } from '../connections/token-notices.ts';
import type { Clock, DatabaseClock } from '../platform/clock.ts';
import type { DebugRequests } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Tracer } from '../platform/tracer.ts';
import type { Readiness } from '../platform/readiness.ts';
import { admitCallers } from './admit-callers.ts';
import { createAdmission, overloaded, type Admission } from './admission.ts';
import type { Callers } from './callers.ts';
import { debugRequests } from './debug-requests.ts';
import {
  isMemoryOnly,
  type GatewayApp,
  type GatewayContext,
  type GatewayEnv,
} from './gateway-env.ts';
import { createDirectReads, type AnswerDirectly } from './direct-reads.ts';
import { inputValidation } from './input-faults.ts';
import { observeRequests } from './observe-requests.ts';
import { asTokenManagerError, createProblem } from './problem.ts';
import { readBody } from './read-body.ts';
import type { RefreshEngine } from './refresh-engine.ts';
import type { RevocationEngine } from './revocation-engine.ts';
import { createRefreshFlights } from './refresh-flights.ts';
import { createRequestRecords } from './request-records.ts';
import { checkRouteAccess } from './route-access.ts';
import { addAppRoutes } from './routes/apps.ts';
import { addBuildRoute, type BuildInfo } from './routes/build.ts';
import { addConnectionLifeRoutes } from './routes/connection-life.ts';
import { addConnectionRoutes } from './routes/connections.ts';
import { addDocumentRoutes } from './routes/documents.ts';
import { addEventRoutes } from './routes/events.ts';
import { addProbeRoutes } from './routes/probes.ts';
import { addProblemRoutes } from './routes/problems.ts';
import { addProviderRoutes } from './routes/providers.ts';
import { addTokenRoutes } from './routes/token.ts';
import { createStoreOutage } from './store-outage.ts';
import { createTokenArrivals } from './token-arrivals.ts';
import { createTokenCache } from './token-cache.ts';
import { createTokenReads } from './token-reads.ts';
import { createTokenService } from './token-service.ts';

export interface GatewayDependencies {
  connections: ConnectionRegistry;
  apps: AppRegistry;
  events: EventFeed;
  providers: ProviderDirectory;
  /** Absent: every read of a token is a SELECT. */
  tokenCache?: {
    /** 0: nothing is kept in memory. */
    seconds: number;
    notices: TokenNotices;
  };
  refreshEngine: RefreshEngine;
  revocationEngine: RevocationEngine;
  clock: Clock;
  databaseClock: DatabaseClock;
  /** Who may call, and what for. */
  callers: Callers;
  log: Pick<Logger, 'info' | 'warn' | 'error' | 'child' | 'prepare'>;
  metrics: Pick<
    Metrics,
    | 'httpRequests'
    | 'httpRequestDurationSeconds'
    | 'httpRequestSizeBytes'
    | 'httpResponseSizeBytes'
    | 'tokenReads'
    | 'refreshJoined'
  >;
  build: BuildInfo;
  tracer: Pick<Tracer, 'start'>;
  readiness: () => Readiness;
  /** What is taken on at once; the usual limits unless a test or the drain has its own. */
  admission?: Admission;
  /** One line a request. */
  logHttpRequests: boolean;
  /** Which requests are logged at length. Default: none. */
  debugRequests?: DebugRequests;
  /** For requests that bring no id of their own. Default: a random UUID. */
  newRequestId?: () => string;
}

export interface Gateway {
  /** The whole HTTP surface as a value: `app.request(…)` answers without a socket. */
  app: GatewayApp;
  /** A shorter way for plain reads, which answers as the app does; for a server to ask first. */
  answerDirectly: AnswerDirectly;
}

export function createGateway(dependencies: GatewayDependencies): Gateway {
  const {
    callers,
    clock,
    log,
    metrics,
    tracer,
    logHttpRequests,
    newRequestId = randomUUID,
  } = dependencies;
  const app = new OpenAPIHono<GatewayEnv>({
    defaultHook: (result) => {
      if (!result.success) throw inputValidation(result.target, result.error);
    },
  });
  app.onError((thrown, c) => answerProblem(c, thrown, log));
  app.notFound((c) => answerProblem(c, new TokenManagerError('not_found'), log));

  const records = createRequestRecords({ metrics, log, logHttpRequests });
  app.use(observeRequests({ clock, records, tracer, newRequestId }));
  const { debugRequests: debugMode = 'never' } = dependencies;
  if (debugMode !== 'never') {
    const debugLog = log.child({ debug_request: true }, { level: 'info' });
    app.use(debugRequests(debugMode, { clock, log: debugLog }));
  }
  app.use(admitCallers(callers));
  app.use(readBody);

  const { connections, apps, databaseClock, refreshEngine, readiness, build } = dependencies;
  const { admission = createAdmission() } = dependencies;
  const flights = createRefreshFlights({
    refreshEngine,
    onJoined: () => metrics.refreshJoined.inc(),
  });
  const tokenCache = createTokenCache({
    connections,
    notices: dependencies.tokenCache?.notices,
    cacheSeconds: dependencies.tokenCache?.seconds ?? 0,
    outage: createStoreOutage(clock),
    clock,
    databaseClock,
  });
  const tokenService = createTokenService({
    tokenCache,
    flights,
    arrivals: createTokenArrivals(dependencies.tokenCache?.notices),
    admission,
    clock,
    databaseClock,
  });
  const reads = createTokenReads(metrics);
  addTokenRoutes(app, { tokenService, reads });
  addProbeRoutes(app, { readiness });
  addBuildRoute(app, { build });
  // The routes above answer from memory, or take their place when they need more; those below always
  // need the store.
  app.use((c, next) => {
    if (isMemoryOnly(c)) throw overloaded();
    return admission.work(next);
  });
  addConnectionRoutes(app, {
    connections: {
      get: (...asked) => connections.get(...asked),
      list: (filter) => connections.list(filter),
      attempts: (...asked) => connections.attempts(...asked),
      async put(connectionId, input) {
        let isForeign = false;
        try {
          return await connections.put(connectionId, input);
        } catch (error) {
          // Nothing was written, and the entry is another tenant's.
          isForeign = error instanceof TokenManagerError && error.code === 'connection_id_taken';
          throw error;
        } finally {
          // Whoever wrote a connection reads it so here, even before its notice has come around.
          if (!isForeign) tokenCache.drop(connectionId);
        }
      },
    },
    databaseClock,
  });
  /** Whoever changed a connection reads it so here, even before its notice has come around, or without one. */
  async function reread<Result>(connectionId: string, change: Promise<Result | undefined>) {
    const result = await change;
    if (result !== undefined) tokenCache.drop(connectionId);
    return result;
  }
  addConnectionLifeRoutes(app, {
    connections: {
      get: (...asked) => connections.get(...asked),
      pause: (...asked) => reread(asked[0], connections.pause(...asked)),
      resume: (...asked) => reread(asked[0], connections.resume(...asked)),
      disconnect: (...asked) => reread(asked[0], connections.disconnect(...asked)),
    },
    databaseClock,
    startProbe(connection, traceparent) {
      flights.startBehind({
        connectionId: connection.id,
        tenantId: connection.tenantId,
        provider: connection.provider,
        newerThan: connection.tokenVersion,
        trigger: 'probe',
        requestedAt: databaseClock.now(),
        traceparent,
      });
    },
    startRevocation(connectionId) {
      dependencies.revocationEngine.start({ connectionId }).catch((error: unknown) => {
        log.warn({ connection_id: connectionId, err: error }, 'a revocation starts later');
      });
    },
  });
  addAppRoutes(app, { apps });
  addEventRoutes(app, dependencies);
  addProviderRoutes(app, { providers: dependencies.providers });
  addProblemRoutes(app);
  addDocumentRoutes(app, { version: build.version });
  checkRouteAccess(app);
  refuseOtherMethods(app);
  const answerDirectly = createDirectReads({
    tokenService,
    callers,
    clock,
    tracer,
    records,
    reads,
    newRequestId,
    debugMode,
  });
  return { app, answerDirectly };
}

/** Every path that is known answers 405 with Allow to the methods it does not take. */
function refuseOtherMethods(app: GatewayApp): void {
  const methodsByPath = new Map<string, Set<string>>();
  for (const { method, path } of app.routes) {
    if (method === 'ALL') continue;
    const methods = methodsByPath.get(path) ?? new Set();
    methodsByPath.set(path, methods.add(method));
    if (method === 'GET') methods.add('HEAD');
  }
  for (const [path, methods] of methodsByPath) {
    app.all(path, (c) => {
      c.header('Allow', [...methods].join(', '));
      throw new TokenManagerError('method_not_allowed');
    });
  }
}

function answerProblem(
  c: GatewayContext,
  thrown: unknown,
  log: GatewayDependencies['log'],
): Response {
  const error = asTokenManagerError(thrown);
  const requestId = c.get('requestId');
  const connectionId = c.get('connectionId');
  const problem = createProblem(error, { requestId, connectionId });
  const fields = {
    err: error,
    code: error.code,
    request_id: requestId,
    trace_id: c.get('span').traceId,
    connection_id: connectionId,
  };
  if (error.code === 'internal') log.error(fields, 'request failed');
  else if (problemKinds[error.code].status >= 500 && error.cause !== undefined) {
    log.warn(fields, 'request failed');
  }

  const text = JSON.stringify(problem.body);
  c.set('problem', error.code);
  c.set('responseBytes', Buffer.byteLength(text));
  // Every status of problemKinds is one that has a body.
  return c.body(text, problem.status as ContentfulStatusCode, problem.headers);
}
