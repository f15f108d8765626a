import { Writable } from 'node:stream';
import { TokenManagerError, type RefreshResult } from '../../client/contract.ts';
import type { App } from '../../connections/app.ts';
import type { Connection } from '../../connections/connection.ts';
import type {
  AppRegistry,
  ConnectionInput,
  ImportResult,
  LoggedAttempt,
  VisibleTenants,
} from '../../connections/registry.ts';
import { isVisible } from '../../gateway/caller.ts';
import { createAnonymousCallers } from '../../gateway/callers.ts';
import { createGateway, type GatewayDependencies } from '../../gateway/create-gateway.ts';
import type { GatewayApp } from '../../gateway/gateway-env.ts';
import type { RefreshRequest } from '../../connections/refresh-request.ts';
import type { RefreshEngine } from '../../gateway/refresh-engine.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import { createProviderDirectory } from '../../oauth/provider-directory.ts';
import { createLogger } from '../../platform/log.ts';
import { createMetrics } from '../../platform/metrics.ts';
import { createIdTracer } from '../../platform/tracer.ts';
import { Secret } from '../../platform/secret.ts';

/** The database's time at which every test starts. */
export const startsAt = new Date('2026-11-23T12:00:00.000Z');
/** For a test of what depends on the second: it is the same one all the time. */
export const stoppedDatabaseClock = { observe: () => undefined, now: () => startsAt };

export function secondsFromStart(seconds: number): Date {
  return new Date(startsAt.getTime() + seconds * 1_000);
}

/** An active connection with an hour's token of which half is left. */
export function connectionRow(changes: Partial<Connection> = {}): Connection {
  return {
    id: 'c1',
    tenantId: 't1',
    appId: 'a1',
    provider: 'demo',
    generation: 7,
    tokenVersion: 7,
    credential: 'refresh_token',
    rotationClass: 'F',
    hasAccessToken: true,
    hasRefreshToken: true,
    hasDpopKey: false,
    tokenType: 'Bearer',
    scope: 'a b',
    expiresAt: secondsFromStart(1_800),
    lifetimeSeconds: 3_600,
    expiryAssumed: false,
    refreshDueAt: secondsFromStart(1_500),
    nextAttemptAt: null,
    lastRefreshedAt: secondsFromStart(-1_800),
    failure: null,
    verdict: null,
    probeRequestedAt: null,
    uncertainSince: null,
    pausedAt: null,
    deletedAt: null,
    app: { pausedReason: null, pausedUntil: null, closedUntil: null, closedReason: null },
    variables: {},
    metadata: { instance_url: 'https://acme.example.com' },
    createdAt: secondsFromStart(-86_400),
    forcedSends: [],
    updatedAt: secondsFromStart(-1_800),
    readAt: startsAt,
    ...changes,
  };
}

export const expired = { expiresAt: secondsFromStart(-1), refreshDueAt: secondsFromStart(-360) };

export function appRow(changes: Partial<App> = {}): App {
  return {
    id: 'a1',
    provider: 'demo',
    clientId: 'client',
    clientSecretCount: 1,
    privateKeyType: null,
    clientCertificateExpiresAt: null,
    overrides: {},
    limits: {},
    tenantIds: null,
    pausedUntil: null,
    pausedReason: null,
    createdAt: startsAt,
    updatedAt: startsAt,
    ...changes,
  };
}

/** What the provider and the store would have done: a new version with an hour left. */
export function refreshRow(rows: Map<string, Connection>, id = 'c1'): RefreshResult {
  const row = rows.get(id) ?? connectionRow({ id });
  const next = { ...row, ...freshToken(row), failure: null, nextAttemptAt: null, verdict: null };
  rows.set(id, next);
  return resultOf(next, 'refreshed');
}

function freshToken(row: Connection): Partial<Connection> {
  return {
    tokenVersion: row.tokenVersion + 1,
    generation: row.generation + 1,
    hasAccessToken: true,
    expiresAt: secondsFromStart(3_600),
    refreshDueAt: secondsFromStart(3_240),
  };
}

export function resultOf(row: Connection, outcome: RefreshResult['outcome']): RefreshResult {
  return {
    connectionId: row.id,
    outcome,
    tokenVersion: row.tokenVersion,
    expiresAt: row.expiresAt?.toISOString() ?? null,
  };
}

export type EngineCall = RefreshRequest & {
  signal: AbortSignal;
  resolve(result: RefreshResult | undefined): void;
  reject(error: unknown): void;
};

/** An engine whose runs are held until a test ends them, or answered at once by `respond`. */
export function createFakeEngine() {
  const calls: EngineCall[] = [];
  const engine: RefreshEngine & {
    calls: EngineCall[];
    respond: ((request: RefreshRequest) => Promise<RefreshResult | undefined>) | undefined;
  } = {
    calls,
    respond: undefined,
    refresh(request, signal) {
      const held = new Promise<RefreshResult | undefined>((resolve, reject) => {
        calls.push({ ...request, signal, resolve, reject });
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      });
      return engine.respond === undefined ? held : engine.respond(request);
    },
  };
  return engine;
}

interface FakeOptions extends Partial<GatewayDependencies> {
  row?: Connection;
}

export function accessTokenOf(row: Connection): string {
  return `access-${row.id}-${row.tokenVersion}`;
}

/** A gateway over rows in memory, an engine a test drives, the real log and the real metrics. */
export function createFakeGateway(options: FakeOptions = {}) {
  const { row = connectionRow(), ...replaced } = options;
  const rows = new Map<string, Connection>([[row.id, row]]);
  const engine = createFakeEngine();
  const puts: { id: string; input: ConnectionInput }[] = [];
  const attempts: LoggedAttempt[] = [];
  const state = {
    reads: 0,
    /** What every read of a token fails with. */
    readsFail: undefined as Error | undefined,
    /** What every read of a token waits for before it answers with the row as it was. */
    readsWait: undefined as Promise<void> | undefined,
    disconnect: 'revoking' as 'revoking' | 'done',
    put: undefined as ((id: string, input: ConnectionInput) => Promise<ImportResult>) | undefined,
  };
  const visibleRow = (id: string, visibleTo: VisibleTenants) => {
    const found = rows.get(id);
    return found !== undefined && isVisible(found.tenantId, visibleTo) ? found : undefined;
  };
  function change(id: string, visibleTo: VisibleTenants, changes: Partial<Connection>) {
    const found = visibleRow(id, visibleTo);
    if (found === undefined) return Promise.resolve(undefined);
    const changed = { ...found, ...changes };
    rows.set(id, changed);
    return Promise.resolve(changed);
  }

  const revocations: string[] = [];
  const connections: GatewayDependencies['connections'] = {
    readToken(id) {
      state.reads += 1;
      if (state.readsFail !== undefined) return Promise.reject(state.readsFail);
      const connection = rows.get(id);
      if (connection === undefined) return Promise.resolve(undefined);
      const open = () => Promise.resolve(new Secret(accessTokenOf(connection)));
      const reading = { connection, open };
      return state.readsWait?.then(() => reading) ?? Promise.resolve(reading);
    },
    get: (id, visibleTo) => Promise.resolve(visibleRow(id, visibleTo)),
    list({ visibleTo }) {
      const items = [...rows.values()].filter(({ tenantId }) => isVisible(tenantId, visibleTo));
      return Promise.resolve({ items, nextCursor: null });
    },
    attempts(id, { limit, visibleTo }) {
      if (visibleRow(id, visibleTo) === undefined) return Promise.resolve(undefined);
      return Promise.resolve({ items: attempts.slice(0, limit), nextCursor: null });
    },
    put(id, input) {
      puts.push({ id, input });
      if (state.put !== undefined) return state.put(id, input);
      const connection = rows.get(id) ?? connectionRow({ id });
      const created = !rows.has(id);
      rows.set(id, connection);
      return Promise.resolve({ connection, created, credentials: 'stored' });
    },
    pause: (id, visibleTo) => change(id, visibleTo, { pausedAt: startsAt }),
    resume(id, visibleTo) {
      const isProbed = (rows.get(id)?.verdict ?? null) !== null;
      return change(id, visibleTo, {
        pausedAt: null,
        probeRequestedAt: isProbed ? startsAt : null,
      });
    },
    disconnect(id, visibleTo) {
      const found = visibleRow(id, visibleTo);
      if (found === undefined) return Promise.resolve(undefined);
      if (state.disconnect === 'done') rows.delete(id);
      else rows.set(id, { ...found, deletedAt: startsAt });
      return Promise.resolve(state.disconnect);
    },
  };
  const apps: AppRegistry = {
    get: (id) => Promise.resolve(id === 'a1' ? appRow() : undefined),
    list: () => Promise.resolve({ items: [appRow()], nextCursor: 'next' }),
    put: (id, input) =>
      Promise.resolve({
        app: appRow({ id, clientSecretCount: input.clientSecrets?.length ?? 0 }),
        created: id !== 'a1',
      }),
    resume: (id) =>
      id === 'a1'
        ? Promise.resolve(appRow())
        : Promise.reject(new TokenManagerError('app_not_found')),
    delete: () => Promise.resolve(),
  };
  const lines: string[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  const log = createLogger({ subsystem: 'test', level: 'debug', pretty: false, destination });
  const metrics = createMetrics({ subsystem: 'test' });
  const startedMs = performance.now();
  const clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };
  const dependencies: GatewayDependencies = {
    connections,
    apps,
    events: { read: () => Promise.resolve({ items: [], nextCursor: null }) },
    providers: createProviderDirectory(
      createProviderCatalogue({ builtIn: loadBuiltInProviders() }),
    ),
    refreshEngine: engine,
    revocationEngine: {
      start({ connectionId }) {
        revocations.push(connectionId);
        return Promise.resolve();
      },
    },
    callers: createAnonymousCallers(),
    clock,
    databaseClock: {
      observe: () => undefined,
      now: () => new Date(startsAt.getTime() + performance.now() - startedMs),
    },
    log,
    metrics,
    tracer: createIdTracer(),
    build: {
      name: 'token-manager',
      version: '0.1.0',
      commit: 'abc',
      builtAt: null,
      node: 'v20',
      temporalSdk: '1',
    },
    readiness: () => ({ status: 'ready', checks: { postgres: 'ok', temporal: 'ok' } }),
    logHttpRequests: true,
    ...replaced,
  };
  const { app } = createGateway(dependencies);
  return {
    app,
    dependencies,
    rows,
    row,
    engine,
    puts,
    attempts,
    revocations,
    state,
    lines,
    metrics,
  };
}

/** A JSON request; the answer's body parsed. */
export async function call(
  app: GatewayApp,
  method: string,
  path: string,
  body?: unknown,
  init: RequestInit = {},
) {
  const response = await app.request(path, {
    method,
    ...(body !== undefined && {
      body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json' },
    }),
    ...init,
  });
  const text = await response.text();
  // Each test says what it expects of the members it reads.
  const json = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, json, text };
}

/** Lets everything that is ready to run do so. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
