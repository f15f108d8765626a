import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { inject } from 'vitest';
import { startAllInOne, type AllInOne } from '../../cli/all-in-one.ts';
import { refreshWorkflowId, type ProblemCode } from '../../client/contract.ts';
import { tellTokenChange, type TokenNotices } from '../../connections/token-notices.ts';
import { loadConfig, type Config } from '../../platform/config.ts';
import { createLogger } from '../../platform/log.ts';
import { createLocalKeyFile } from '../../vault/local-key-file.ts';
import { composeWorker, type ComposedWorker } from '../../worker/compose-worker.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';

const putTriesMax = 10;
const putAgainMs = 1_000;
const storeAway: ProblemCode = 'store_unavailable';

export interface Answer {
  status: number;
  headers: Headers;
  /** Members of the JSON body; empty for none. */
  body: Record<string, unknown>;
}

/** Gateway and worker as `npm start` runs them, over a database and a Task Queue of their own. */
export interface TestStack {
  origin: string;
  database: TestDatabase;
  temporal: Client;
  allInOne: AllInOne;
  /** One more worker on the same Task Queue. */
  addWorker(): Promise<ComposedWorker>;
  /** Everything that was logged so far. */
  logText(): string;
  call(method: string, path: string, body?: unknown): Promise<Answer>;
  /** Registers an app of the provider `generic` whose token endpoint is at the URL. */
  addApp(
    tokenUrl: string,
    overrides?: Record<string, unknown>,
    client?: { id: string; secret: string },
  ): Promise<string>;
  /** Imports a connection whose access token has expired; answers its id. */
  addConnection(
    appId: string,
    tokens: { accessToken: string; refreshToken: string },
    members?: Record<string, unknown>,
  ): Promise<string>;
  /** Lets the stored access token expire now; resolves once the gateway's cache has heard of it. */
  expire(connectionId: string): Promise<void>;
  getToken(connectionId: string, query?: string): Promise<Answer>;
  refresh(connectionId: string, body?: unknown): Promise<Answer>;
  /** Every event of the newest run of the connection's refresh, payloads decoded. */
  historyOf(connectionId: string): Promise<string>;
  /** The newest run of the connection's refresh. */
  describeRun(connectionId: string): Promise<{ runId: string; status: string }>;
  terminateRun(connectionId: string): Promise<void>;
  close(): Promise<void>;
}

export async function startTestStack(
  options: {
    env?: Record<string, string>;
    sweep?: Partial<Config['temporal']['sweep']>;
    /** What every call is made with, where the environment names a policy of callers. */
    key?: string;
    /** The URL by which the stack, but not the test, reaches its database. */
    connectThrough?: (databaseUrl: string) => Promise<string>;
  } = {},
): Promise<TestStack> {
  const database = await createTestDatabase();
  const databaseUrl = (await options.connectThrough?.(database.url)) ?? database.url;
  const folder = mkdtempSync(join(tmpdir(), 'token-manager-stack-'));
  const keyFile = join(folder, 'local.key');
  await createLocalKeyFile(keyFile);
  const config = loadConfig({
    env: {
      DATABASE_URL: databaseUrl,
      TEMPORAL_ADDRESS: inject('temporalAddress'),
      TEMPORAL_NAMESPACE: inject('temporalNamespace'),
      LOCAL_KEY_FILE: keyFile,
      EGRESS_ALLOW: '127.0.0.1',
      PORT: '0',
      METRICS_PORT: '0',
      PPROF_PORT: '0',
      ...options.env,
    },
  });
  // Test files share one Temporal: a Task Queue of its own keeps each stack's work with its worker.
  const queue = `test-${randomUUID()}`;
  config.temporal.taskQueues = {
    ...config.temporal.taskQueues,
    refresh: queue,
    wait: `${queue}-wait`,
    sweep: `${queue}-sweep`,
  };
  // Nothing is refreshed of its own accord but where a test says so.
  config.temporal.sweep = { ...config.temporal.sweep, enabled: false, ...options.sweep };
  const logged: string[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      logged.push(chunk.toString());
      done();
    },
  });
  const log = createLogger({ subsystem: 'test', level: 'debug', pretty: false, destination });
  const allInOne = await startAllInOne({
    config,
    log,
    build: {
      name: 'token-manager',
      version: '0.0.0',
      commit: 'test',
      builtAt: null,
      node: process.version,
      temporalSdk: 'test',
    },
    workflowBundlePath: inject('workflowBundlePath'),
    allowVolatileDatabase: true,
  });
  const connection = await Connection.connect({ address: inject('temporalAddress') });
  const temporal = new Client({ connection, namespace: inject('temporalNamespace') });
  const origin = allInOne.gateway.url;

  async function call(method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await fetch(`${origin}${path}`, {
      method,
      headers: {
        ...(options.key !== undefined && { authorization: `Bearer ${options.key}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
    };
  }

  /** A busy machine may not connect to PostgreSQL within the limit of the pool, so that is tried again. */
  async function put(path: string, body: unknown): Promise<void> {
    let answer = await call('PUT', path, body);
    for (let tries = 1; tries < putTriesMax && answer.body['code'] === storeAway; tries += 1) {
      await sleep(putAgainMs);
      answer = await call('PUT', path, body);
    }
    if (answer.status >= 300) throw new Error(`PUT ${path}: ${JSON.stringify(answer.body)}`);
  }

  const addedWorkers: ComposedWorker[] = [];

  async function addWorker(): Promise<ComposedWorker> {
    const added = composeWorker({
      ...allInOne.services,
      connect: () => NativeConnection.connect({ address: inject('temporalAddress') }),
      workflowBundlePath: inject('workflowBundlePath'),
    });
    addedWorkers.push(added);
    await added.firstAttempt;
    return added;
  }

  return {
    origin,
    database,
    temporal,
    allInOne,
    addWorker,
    async historyOf(connectionId) {
      const handle = temporal.workflow.getHandle(refreshWorkflowId(connectionId));
      return readableJson(await handle.fetchHistory());
    },
    logText: () => logged.join(''),
    call,
    async addApp(
      tokenUrl,
      overrides = {},
      client = { id: 'client', secret: 'client-secret-canary' },
    ) {
      const appId = `app-${randomUUID()}`;
      await put(`/v1/apps/${appId}`, {
        provider: 'generic',
        client_id: client.id,
        client_secrets: [client.secret],
        overrides: { token_url: tokenUrl, ...overrides },
      });
      return appId;
    },
    async addConnection(appId, tokens, members = {}) {
      const id = `c-${randomUUID()}`;
      await put(`/v1/connections/${id}`, {
        tenant_id: 'tenant',
        app_id: appId,
        access_token: tokens.accessToken,
        refresh_token: tokens.refreshToken,
        expires_in: 0,
        ...members,
      });
      return id;
    },
    async expire(connectionId) {
      const { tokenNotices } = allInOne.gateway;
      const heard = tokenNotices?.session() === undefined ? undefined : nextNotice(tokenNotices);
      await database.pool.query(
        `with expired as (
           update connections set expires_at = now() - interval '1 second', refresh_due_at = now()
           where id = $1 returning id)
         select ${tellTokenChange('id')} from expired`,
        [connectionId],
      );
      await heard?.(connectionId);
    },
    getToken: (connectionId, query = '') =>
      call('GET', `/v1/connections/${connectionId}/token${query}`),
    refresh: (connectionId, body) =>
      call('POST', `/v1/connections/${connectionId}/token/refresh`, body),
    async describeRun(connectionId) {
      const run = await temporal.workflow.getHandle(refreshWorkflowId(connectionId)).describe();
      return { runId: run.runId, status: run.status.name };
    },
    async terminateRun(connectionId) {
      await temporal.workflow.getHandle(refreshWorkflowId(connectionId)).terminate('test');
    },
    async close() {
      for (const worker of addedWorkers) await worker.close();
      await allInOne.close();
      await connection.close();
      await database.drop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Hears from now on; the function it returns waits until the connection was told of. */
function nextNotice(notices: TokenNotices): (connectionId: string) => Promise<void> {
  const told = new Set<string>();
  let wake = (): void => undefined;
  const unsubscribe = notices.subscribe((id) => {
    told.add(id);
    wake();
  });
  return async (connectionId) => {
    while (!told.has(connectionId)) await new Promise<void>((resolve) => (wake = resolve));
    unsubscribe();
  };
}

/** The events as JSON, and after them every payload, which JSON shows in base64. */
function readableJson(history: unknown): string {
  const payloads: string[] = [];
  // The classes of the protocol write themselves as JSON of their own; only that JSON is walked.
  const events = JSON.stringify(JSON.parse(JSON.stringify(history)), (name, member: unknown) => {
    if (name === 'data' && typeof member === 'string') {
      payloads.push(Buffer.from(member, 'base64').toString('utf8'));
    }
    return member;
  });
  return [events, ...payloads].join('\n');
}
